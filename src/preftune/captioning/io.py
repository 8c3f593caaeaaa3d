"""Saving and loading a trained captioner: connector, adapters or whole language model, and their schema."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerBase

from preftune.adapters.io import (
    describe_base,
    load_adapters,
    read_schema,
    read_tensors,
    save_adapters,
    write_schema,
)
from preftune.captioning.captioner import Captioner, build_captioner
from preftune.captioning.connector import ConnectorKind
from preftune.captioning.data import CaptionedImages
from preftune.errors import PreftuneError
from preftune.files import read_json
from preftune.models.language import load_language_model
from preftune.settings.adapters import AdapterSettings, GroupSettings
from preftune.settings.captioning import CaptioningSettings

CONNECTOR = "connector.safetensors"
LANGUAGE_MODEL = "language_model"


@dataclass(frozen=True)
class CaptionerFacts:
    """What `adapter.json` says of a captioner that its tensors do not; image_tokens and encoder_width are 0 without images."""

    adapter: AdapterSettings
    connector: ConnectorKind
    image_tokens: int
    encoder_width: int
    max_caption_tokens: int


def save_captioner(
    captioner: Captioner,
    tokenizer: PreTrainedTokenizerBase,
    settings: CaptioningSettings,
    images: CaptionedImages,
    folder: Path,
) -> dict[str, Any]:
    """Write what was trained into `folder`; returns the schema (`adapter.json`) with the parameter counts."""
    facts = CaptionerFacts(
        settings.adapter, settings.connector, images.tokens, images.width, settings.max_caption_tokens
    )
    return save_trained(captioner, tokenizer, facts, folder)


def save_trained(
    captioner: Captioner, tokenizer: PreTrainedTokenizerBase, facts: CaptionerFacts, folder: Path
) -> dict[str, Any]:
    """The same for a captioner that need not have been trained on captions."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: value.detach().contiguous().cpu() for name, value in captioner.connector.state_dict().items()
    }
    save_file(tensors, folder / CONNECTOR)
    if captioner.adapters is not None:
        save_adapters(captioner.adapters, folder)
    if facts.adapter.kind == "full":
        captioner.language_model.save_pretrained(folder / LANGUAGE_MODEL)
        tokenizer.save_pretrained(folder / LANGUAGE_MODEL)
    schema = {
        "version": 2,
        "groups": _describe_groups(captioner),
        "base": describe_base(captioner.language_model),
        **asdict(facts),
        "adapter": facts.adapter.model_dump(mode="json"),
        "parameters": count_parameters(captioner),
    }
    write_schema(folder, schema)
    return schema


def _describe_groups(captioner: Captioner) -> dict[str, Any]:
    groups = {} if captioner.adapters is None else captioner.adapters.groups
    return {name: group.model_dump(mode="json") for name, group in groups.items()}


def count_parameters(captioner: Captioner) -> dict[str, int]:
    """Trainable values: of the language model and its adapters (the paper's Table 3), the connector, all."""
    connector = sum(parameter.numel() for parameter in captioner.connector.parameters())
    total = sum(parameter.numel() for parameter in captioner.trainable())
    return {"language_model": total - connector, "connector": connector, "trainable": total}


def load_captioner(
    base: Path, folder: Path, device: torch.device, dtype: torch.dtype
) -> tuple[Captioner, PreTrainedTokenizerBase, dict[str, Any]]:
    """A trained captioner in eval mode, its tokenizer and its schema.

    `base` is the language model that it was trained on; a run of kind `full` brings its own copy of it.
    """
    folder = Path(folder)
    whole = folder / LANGUAGE_MODEL
    # As in training: weights that were trained are fp32, and computed with under autocast.
    stored = torch.float32 if whole.is_dir() else dtype
    language_model, tokenizer = load_language_model(whole if whole.is_dir() else base, device, stored)
    schema = read_schema(folder, describe_base(language_model))
    adapter = AdapterSettings.model_validate(schema["adapter"])
    if (adapter.kind == "full") != whole.is_dir():
        raise PreftuneError(
            f"{folder} is of kind {adapter.kind} but {LANGUAGE_MODEL}/ says otherwise: train it again."
        )
    captioner = build_captioner(
        language_model, tokenizer, adapter, schema["connector"], schema["encoder_width"], 0.0
    )
    if captioner.adapters is not None:
        for name, group in schema["groups"].items():  # groups that were added after the training
            if name not in captioner.adapters.groups:
                captioner.adapters.add(name, GroupSettings.model_validate(group), seed=0)
        load_adapters(captioner.adapters, folder)
    _load_connector(captioner, folder / CONNECTOR)
    return captioner.requires_grad_(False).eval(), tokenizer, schema


def _load_connector(captioner: Captioner, path: Path) -> None:
    stored = read_tensors(path)
    wanted = captioner.connector.state_dict()
    for name, value in wanted.items():
        if name not in stored or stored[name].shape != value.shape:
            raise PreftuneError(f"{path}: {name} is not of shape {list(value.shape)}: train this run again.")
    captioner.connector.load_state_dict(stored)


def recorded_costs(folder: Path) -> dict[str, float]:
    """Operations of the whole training and predicted bytes of one of its passes, from the captioner's record."""
    facts, found = read_json(Path(folder) / "run.json").get("facts", {}), {}
    predicted = facts.get("memory", {}).get("predicted", {})
    if predicted and None not in predicted.values():
        found["training_memory_bytes"] = sum(predicted.values())
    if facts.get("flops_per_token") is not None:
        found["training_flops"] = facts["flops_per_token"] * facts["tokens"]
    return found


def check_features(schema: dict[str, Any], images: CaptionedImages, folder: Path) -> None:
    """Features of another encoder than the one that a captioner was trained with are refused."""
    check_shape(schema, images.tokens, images.width, str(folder))


def check_shape(schema: dict[str, Any], tokens: int, width: int, source: str) -> None:
    """Refuse features of another shape than those that a captioner was trained with; `source` says whose they are."""
    trained = (schema["image_tokens"], schema["encoder_width"])
    if trained != (tokens, width):
        raise PreftuneError(
            f"{source} gives features of [{tokens}, {width}] but the captioner was trained on {list(trained)}: "
            "take its own encoder."
        )

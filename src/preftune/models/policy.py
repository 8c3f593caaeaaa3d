"""Policies on disk: a PEFT adapter on a base model, or a whole model; starting, loading, saving."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from preftune.errors import PreftuneError
from preftune.files import read_json, write_json
from preftune.models.freezing import freeze_weights
from preftune.models.language import load_language_model
from preftune.settings.training import FreezingLevel, LoraSettings

ADAPTER_CONFIG = "adapter_config.json"


def is_adapter(folder: Path) -> bool:
    """Whether `folder` is a PEFT adapter rather than a whole model."""
    return (Path(folder) / ADAPTER_CONFIG).is_file()


def start_policy(
    checkpoint: Path,
    base: Path | None,
    freeze: FreezingLevel,
    lora: LoraSettings | None,
    seed: int,
    device: torch.device | str,
    dtype: torch.dtype,
) -> tuple[nn.Module, Any]:
    """A checkpoint made ready to train as `freeze` says, with its tokenizer; it computes what the checkpoint computes.

    An adapter checkpoint goes on with its own adapter (lora), stays as it is (model), or is added into the weights that
    train. A whole model gets a fresh adapter for lora, whose A matrices are drawn from torch's global generator after it
    is seeded with `seed`; B is zero. Weights that train are fp32 (master weights) whatever `dtype` is.

    Raises:
        PreftuneError: the checkpoint cannot be loaded, or `lora` does not fit it.
    """
    if freeze == "model":
        return load_policy(checkpoint, base, device, dtype)
    if freeze == "lora" and is_adapter(checkpoint):
        return load_policy(checkpoint, base, device, dtype, trainable=True)
    # A fresh adapter on a checkpoint of its own is added into the weights in the end, which bfloat16 would swallow.
    stored = dtype if freeze == "lora" and Path(checkpoint) == base else torch.float32
    model, tokenizer = load_policy(checkpoint, base, device, stored)
    if isinstance(model, PeftModel):
        model = model.merge_and_unload()  # type: ignore[operator]
    if freeze == "lora":
        model = _add_adapter(model, lora or LoraSettings(), seed, checkpoint)
    else:
        freeze_weights(model, freeze)
    return model.train(), tokenizer


def _add_adapter(model: Any, lora: LoraSettings, seed: int, checkpoint: Path) -> PeftModel:
    torch.manual_seed(seed)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]
        target_modules=list(lora.targets),
        lora_dropout=lora.dropout,
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, config)  # type: ignore[return-value]
    except ValueError as error:
        raise PreftuneError(
            f"LoRA targets {list(lora.targets)} do not fit {checkpoint} ({error}); name its linear layers in "
            "lora.targets."
        ) from error


def load_policy(
    folder: Path,
    base: Path | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    trainable: bool = False,
    exact: bool = False,
) -> tuple[nn.Module, Any]:
    """Load a whole model, or an adapter on `base` (None: on the folder that the adapter names), with its tokenizer.

    Without `trainable` no parameter has a gradient; with it an adapter trains alone and a whole model trains whole. A whole
    model is of `dtype`, or in fp32 as training holds it, where it is `trainable` or wanted `exact`: rounded weights would
    hide small updates.
    """
    folder = Path(folder)
    if not is_adapter(folder):
        stored = torch.float32 if trainable or exact else dtype
        model, tokenizer = load_language_model(folder, torch.device(device), stored)
        return model.requires_grad_(trainable).train(trainable), tokenizer
    base = base or Path(str(read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path")))
    if not base.is_dir():
        raise PreftuneError(
            f"{folder} is an adapter without its base model ({base} is no folder); give the base model's folder as well."
        )
    model, tokenizer = load_language_model(base, torch.device(device), dtype)
    try:
        policy = PeftModel.from_pretrained(model, str(folder), is_trainable=trainable)
    except (ValueError, RuntimeError) as error:
        raise PreftuneError(
            f"The adapter {folder} does not fit the base model {base} ({error}); give the base that it was "
            "trained on."
        ) from error
    if not trainable:
        policy.requires_grad_(False)
    return policy.train(trainable), tokenizer


def save_policy(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write an adapter, or a whole model with its tokenizer, with reproducible bytes."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not isinstance(model, PeftModel):
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return
    # "auto" would look the base model up on the hub; no embedding is ever trained by an adapter here.
    model.save_pretrained(str(folder), save_embedding_layers=False)
    # PEFT writes a Python set, whose order changes from process to process.
    config = read_json(folder / ADAPTER_CONFIG)
    write_json(folder / ADAPTER_CONFIG, {**config, "target_modules": sorted(config["target_modules"])})


def trainable_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that have a gradient."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Numbers of all and of trainable parameters."""
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "trainable_parameters": sum(parameter.numel() for parameter in trainable_parameters(model)),
    }

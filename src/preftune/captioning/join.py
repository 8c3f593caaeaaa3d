"""Joining adapters that were trained apart on one frozen language model (Context-PEFT paper, Fig. 7)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from preftune.adapters.contexts import domains_of
from preftune.adapters.io import SCHEMA, describe_base, load_group, read_schema
from preftune.captioning.captioner import Captioner
from preftune.captioning.io import CaptionerFacts, load_captioner
from preftune.errors import PreftuneError
from preftune.files import read_json
from preftune.settings.adapters import AdapterSettings, GroupSettings


def join_captioners(
    base: Path, folders: Sequence[Path], device: torch.device, dtype: torch.dtype
) -> tuple[Captioner, PreTrainedTokenizerBase, CaptionerFacts]:
    """One model with the groups of every folder, and the connector of the one that has one; its outputs are the parts'.

    Raises:
        PreftuneError: the parts' adapters are of unlike kinds, two of them read images, or groups of two parts have a name or
            a context in common, so that each would change what the other says.
    """
    trunk, others = _order(folders)
    captioner, tokenizer, schema = load_captioner(base, trunk, device, dtype)
    longest, kept = int(schema["max_caption_tokens"]), _groups(schema)
    for folder in others:
        other = read_schema(folder, describe_base(captioner.language_model))
        _check_kind(trunk, schema, folder, other)
        for name, group in _groups(other).items():
            _check_contexts(name, group, folder, kept)
            assert captioner.adapters is not None
            load_group(captioner.adapters, name, group, folder / name)
        kept |= _groups(other)
        longest = max(longest, int(other["max_caption_tokens"]))
    adapter = AdapterSettings.model_validate(schema["adapter"])
    if others:
        adapter = adapter.model_copy(update={"groups": kept})
    facts = CaptionerFacts(
        adapter, schema["connector"], schema["image_tokens"], schema["encoder_width"], longest
    )
    return captioner, tokenizer, facts


def train_again(captioner: Captioner, connector_dropout: float) -> None:
    """Make adapters and connector of a loaded captioner trainable, as those of a new one are."""
    parameters = [] if captioner.adapters is None else captioner.adapters.parameters()
    for parameter in (*parameters, *captioner.connector.parameters()):
        parameter.requires_grad_(True)
    for module in captioner.connector.modules():
        if isinstance(module, nn.Dropout):
            module.p = connector_dropout


def _order(folders: Sequence[Path]) -> tuple[Path, list[Path]]:
    """The folder with a connector, or the first one, and the others."""
    paths = [Path(folder) for folder in folders]
    reading = [path for path in paths if read_json(path / SCHEMA).get("connector") != "none"]
    if len(reading) > 1:
        raise PreftuneError(
            f"{reading[0]} and {reading[1]} both have a connector: join one part that reads images with parts that read texts."
        )
    trunk = reading[0] if reading else paths[0]
    return trunk, [path for path in paths if path != trunk]


def _groups(schema: dict[str, Any]) -> dict[str, GroupSettings]:
    return {name: GroupSettings.model_validate(group) for name, group in schema["groups"].items()}


def _check_kind(trunk: Path, first: dict[str, Any], folder: Path, second: dict[str, Any]) -> None:
    for key in ("kind", "rslora"):
        values = [schema["adapter"][key] for schema in (first, second)]
        if values[0] != values[1] or values[0] in ("none", "full"):
            raise PreftuneError(
                f"{trunk} and {folder} cannot be joined: the {key} of their adapters is {values[0]} and {values[1]}; train both "
                "with groups of one kind."
            )


def _check_contexts(name: str, group: GroupSettings, folder: Path, kept: dict[str, GroupSettings]) -> None:
    for other, settings in kept.items():
        if domains_of(group) & domains_of(settings):
            raise PreftuneError(
                f"group {name} of {folder} and group {other} are on at the same tokens, so that joined each would change the "
                "other's outputs: give them roles of their own."
            )

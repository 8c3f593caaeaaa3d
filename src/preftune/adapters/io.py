"""Saving and loading context adapters: `adapter.safetensors`, one tensor per group, and `adapter.json`."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from preftune.adapters.install import InstalledAdapters
from preftune.errors import PreftuneError
from preftune.files import read_json, write_json

WEIGHTS = "adapter.safetensors"
SCHEMA = "adapter.json"


def describe_base(model: torch.nn.Module) -> dict[str, Any]:
    """The shape of a language model that its adapters must fit: type, layers, widths, heads, vocabulary."""
    config = model.config  # type: ignore[union-attr]
    names = ("model_type", "num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads",
             "num_key_value_heads", "vocab_size")  # fmt: skip
    return {name: getattr(config, name, None) for name in names}


def save_adapters(adapters: InstalledAdapters, folder: Path) -> None:
    """Write each group's tensor as `<layer>.<parameter>.<group>`, e.g. `....self_attn.q_proj.a.image`."""
    tensors = {
        f"{name}.{group}": parameter.detach()[index].contiguous().cpu()
        for name, parameter in adapters.named_parameters()
        for index, group in enumerate(adapters.groups)
    }
    save_file(tensors, Path(folder) / WEIGHTS)


def load_adapters(adapters: InstalledAdapters, folder: Path) -> None:
    """Fill installed adapters from a folder; tensors missing, left over or of another shape are an error."""
    path = Path(folder) / WEIGHTS
    stored = read_tensors(path)
    for name, parameter in adapters.named_parameters():
        groups = [_take(stored, f"{name}.{group}", parameter[0].shape, path) for group in adapters.groups]
        with torch.no_grad():
            parameter.copy_(torch.stack(groups))
    if stored:
        raise PreftuneError(
            f"{path} holds tensors that these adapters do not have (such as {sorted(stored)[0]}): "
            "load it with the kind, context and targets of its adapter.json."
        )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file; a missing or damaged file is an error that names it."""
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise PreftuneError(f"{path} does not exist: train this run again.") from error
    except SafetensorError as error:
        raise PreftuneError(
            f"{path} is damaged ({error}): delete its folder and train this run again."
        ) from error


def _take(stored: dict[str, Tensor], name: str, shape: torch.Size, path: Path) -> Tensor:
    tensor = stored.pop(name, None)
    if tensor is None or tensor.shape != shape:
        found = "no such tensor" if tensor is None else f"shape {list(tensor.shape)}"
        raise PreftuneError(
            f"{path}: {name} should have shape {list(shape)} but there is {found}: "
            "use the kind, rank and base model that the file was trained with."
        )
    return tensor


def write_schema(folder: Path, schema: dict[str, Any]) -> None:
    """Write `adapter.json`."""
    write_json(Path(folder) / SCHEMA, schema)


def read_schema(folder: Path, base: dict[str, Any]) -> dict[str, Any]:
    """Read `adapter.json`; a base model of another shape than the one it was trained on is refused."""
    path = Path(folder) / SCHEMA
    schema = read_json(path)
    try:
        trained = schema["base"]
    except (KeyError, TypeError) as error:
        raise PreftuneError(f"{path} names no base model: train this run again.") from error
    different = [f"{name} {trained.get(name)} instead of {value}" for name, value in base.items()
                 if trained.get(name) != value]  # fmt: skip
    if different:
        raise PreftuneError(
            f"{path} was trained on another language model ({', '.join(different)}): give that model."
        )
    return schema

"""Files of context adapters: a folder per group that is an ordinary PEFT adapter, and `adapter.json`, which says where it is on.

So one group can be loaded by `peft.PeftModel.from_pretrained`, and a LoRA trained with PEFT can become a group. (Not MokA's,
whose words also look at the image: its folders have LoRA's names, and PEFT would leave that out.)
"""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from preftune.adapters.install import KINDS, InstalledAdapters
from preftune.errors import PreftuneError
from preftune.files import read_json, write_json
from preftune.settings.adapters import GroupSettings

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"  # PEFT's names
SCHEMA = "adapter.json"
_PREFIX = "base_model.model."  # PEFT's, of a model inside its tuner inside a PeftModel


def describe_base(model: torch.nn.Module) -> dict[str, Any]:
    """The shape of a language model that its adapters must fit: type, layers, widths, heads, vocabulary."""
    config = model.config  # type: ignore[union-attr]
    names = ("model_type", "num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads",
             "num_key_value_heads", "vocab_size")  # fmt: skip
    return {name: getattr(config, name, None) for name in names}


def save_adapters(adapters: InstalledAdapters, folder: Path) -> None:
    """Write `<folder>/<group>/adapter_config.json` and `adapter_model.safetensors` for every group."""
    for group, config in adapters.configs.items():
        target = Path(folder) / group
        target.mkdir(parents=True, exist_ok=True)
        tensors = {
            _file_name(name, group): parameter.detach().contiguous().cpu().clone()
            for name, parameter in adapters.named_parameters(group)
        }
        save_file(tensors, target / WEIGHTS, {"format": "pt"})
        plain = config.to_dict() | {"inference_mode": True}
        write_json(target / CONFIG, {key: _plain(value) for key, value in plain.items()})


def load_adapters(adapters: InstalledAdapters, folder: Path) -> None:
    """Fill every installed group from its folder; tensors missing, left over or of another shape are an error."""
    for group in adapters.groups:
        _fill(adapters, group, Path(folder) / group / WEIGHTS)


def load_group(adapters: InstalledAdapters, name: str, group: GroupSettings, folder: Path) -> None:
    """Add a group out of an ordinary PEFT adapter's folder; `group` says where it is on.

    Raises:
        PreftuneError: the adapter is of another kind, is for other layers or has parts that a group has not.
    """
    path = Path(folder) / CONFIG
    read_json(path)  # missing or damaged: a sentence
    config = PeftConfig.from_pretrained(str(folder))
    wanted = KINDS[adapters.kind].config(group.model_copy(update={"rank": group.rank or 1}), [], [], False)
    if config.peft_type != wanted.peft_type:
        raise PreftuneError(
            f"{path} is a {config.peft_type.value} adapter but these are of kind {adapters.kind}: give one of that kind."
        )
    _check_lora(config, path)
    config.inference_mode = False
    adapters.add(name, group, seed=0, config=config)
    _fill(adapters, name, Path(folder) / WEIGHTS)


def _check_lora(config: PeftConfig, path: Path) -> None:
    if not isinstance(config, LoraConfig):
        return
    extras = {
        "use_dora": config.use_dora, "bias": config.bias != "none", "lora_bias": config.lora_bias,
        "lora_dropout": config.lora_dropout, "modules_to_save": config.modules_to_save,
    }  # fmt: skip
    found = [name for name, value in extras.items() if value]
    if found:
        raise PreftuneError(f"{path} sets {', '.join(found)}, which a group has not: give a plain LoRA.")


def _fill(adapters: InstalledAdapters, group: str, path: Path) -> None:
    stored = read_tensors(path)
    for name, parameter in adapters.named_parameters(group):
        value = _take(stored, _file_name(name, group), parameter.shape, path)
        with torch.no_grad():
            parameter.copy_(value)
    if stored:
        raise PreftuneError(
            f"{path} holds tensors that these adapters do not have (such as {sorted(stored)[0]}): "
            "load it with the kind, groups and targets of its adapter.json."
        )


def _file_name(name: str, group: str) -> str:
    before, _, after = name.rpartition(f".{group}")
    return _PREFIX + before + after


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, set) else value


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

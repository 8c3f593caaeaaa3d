"""A released checkpoint as ordinary folders hold models: a transformers language model, and our head files beside it.

Source: `Avelina/lovelace-medium-alpha1`, `-sft` and `-dph` of Hadji-Kyriacou and Arandjelovic (2024), arXiv 2405.20053, and
their released code (modeling.py, configuration.py): the names of tensors and fields.

What no file that was seen tells, so that it is taken from the checkpoint itself or refused by name:

* the pooler. Tensors tell the number of its linear layers, but not whether `bert` and `swiglu_bert` or their t5 forms were
  trained: those differ in dropout alone, so that rewards are the same. `reward_pooler` in config.json says it.
* the names of the heads: `reward_heads` in config.json. Their tensors must have the same ones.
* the weights' format: model.safetensors or pytorch_model.bin, whichever is there. Their precision stays.
"""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoTokenizer

from preftune.data.chat import marker_id
from preftune.errors import PreftuneError
from preftune.files import read_json
from preftune.models.lsw.configuration import LswConfig
from preftune.models.lsw.modeling import LswForCausalLM
from preftune.models.lsw.released import split_released
from preftune.preference.reward_head import HeadConfig, RewardHead, save_head

TOKENIZER_FILES = ("tokenizer*", "vocab.*", "merges.txt", "special_tokens_map.json", "added_tokens.json")
"""What a tokenizer consists of, as patterns of file names."""


def convert_released(fetched: Path, output: Path, tokenizer: Path | None = None) -> None:
    """Write the folder of a released checkpoint: language model, configuration, tokenizer, and its reward head if it has one.

    Args:
        fetched: the repository's files.
        output: the folder to write, which evaluation loads like any aligned run's.
        tokenizer: folder with the tokenizer's files, where the repository has none.

    Raises:
        PreftuneError: weights, tokenizer or tensors are missing, or config.json and tensors disagree.
    """
    fields = read_json(fetched / "config.json")
    language, head = split_released(read_state(fetched))
    model = build_language_model(fields, language, fetched)
    output.mkdir(parents=True)
    copy_tokenizer(tokenizer or fetched, output)
    if head or fields.get("reward_heads"):
        known = AutoTokenizer.from_pretrained(output, local_files_only=True)
        save_head(build_head(fields, head, marker_id(known), fetched), output)
    model.save_pretrained(output)


def read_state(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a checkpoint's file."""
    if (path := folder / "model.safetensors").is_file():
        return load_file(path)
    if (path := folder / "pytorch_model.bin").is_file():
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        return state
    raise PreftuneError(
        f"{folder} holds neither model.safetensors nor pytorch_model.bin: take a revision of the repository that does."
    )


def build_language_model(
    fields: Mapping[str, Any], state: Mapping[str, Tensor], folder: Path
) -> LswForCausalLM:
    """The language model of a released config.json with the released tensors, in their own precision."""
    kept = {name: value for name, value in fields.items() if name != "_name_or_path"}
    with torch.device("meta"):
        model = LswForCausalLM(LswConfig(**kept))
    _check_fit(model.state_dict(), state, f"{folder}: the language model")
    model.load_state_dict(dict(state), assign=True)
    return model.eval()


def build_head(
    fields: Mapping[str, Any], state: Mapping[str, Tensor], marker: int, folder: Path
) -> RewardHead:
    """The reward head that a released config.json describes, with the released tensors as fp32."""
    try:
        config = HeadConfig(
            pooler=fields["reward_pooler"],
            width=fields["d_model"],
            inner_width=fields["d_ffn"],
            marker_id=marker,
            names=tuple(fields["reward_heads"]),
            dropout=fields.get("reward_dropout", 0.0),
        )
    except (KeyError, TypeError) as error:
        raise PreftuneError(
            f"{folder} has the tensors of a reward head, but its config.json does not describe one ({error}): take the "
            "config.json of the same checkpoint."
        ) from error
    head = RewardHead(config)
    _check_fit(head.state_dict(), state, f"{folder}: the reward head ({config.pooler})")
    head.load_state_dict(dict(state))
    return head


def copy_tokenizer(folder: Path, output: Path) -> None:
    """Copy a tokenizer's files."""
    files = sorted({path for pattern in TOKENIZER_FILES for path in folder.glob(pattern)})
    if not files:
        raise PreftuneError(
            f"{folder} holds no tokenizer: name the repository that does as the key tokenizer of the model's source."
        )
    for path in files:
        shutil.copyfile(path, output / path.name)


def _check_fit(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], what: str) -> None:
    """The same names and shapes."""
    shapes = {name for name in wanted.keys() & found.keys() if wanted[name].shape != found[name].shape}
    for names, says in (
        (wanted.keys() - found.keys(), "lacks"),
        (found.keys() - wanted.keys(), "does not know"),
        (shapes, "has other shapes of"),
    ):
        if names:
            raise PreftuneError(
                f"{what} {says} {_list(names)}: the checkpoint and its config.json are not of the released layout."
            )


def _list(names: Iterable[str], shown: int = 3) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - shown} more" if len(ordered) > shown else ""
    return ", ".join(ordered[:shown]) + more

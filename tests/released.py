"""Random tiny checkpoints in the released layout: names of tensors, fields of config.json, fp16, files of the tokenizer."""

import io
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from preftune.models.lsw import LswConfig, LswForCausalLM
from tests.tiny import tiny_tokenizer
from tests.unit.models.lsw_models import RELEASED

SHAPE = {"vocab_size": 512, "d_vocab": 16, "d_model": 32, "d_ffn": 24, "n_heads": 4, "n_layers": 2}
CONFIG = RELEASED | SHAPE | {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
HEAD = {"architectures": ["LSWTForDPH"], "reward_heads": ["reward_head"], "reward_pooler": "swiglu_bert"}


def released_state(config: dict[str, Any] = CONFIG, seed: int = 0) -> dict[str, Tensor]:
    """A random language model's tensors, in fp16."""
    torch.manual_seed(seed)
    model = LswForCausalLM(LswConfig(**config))
    return {
        name: (0.2 * torch.randn_like(one) + (one == 1)).half() for name, one in model.state_dict().items()
    }


def released_head(config: dict[str, Any], seed: int = 1) -> dict[str, Tensor]:
    """The tensors of a reward head with the SwiGLU pooler, which stand first and third among its layers."""
    torch.manual_seed(seed)
    width, inner = config["d_model"], config["d_ffn"]
    shapes = {"pooler_pipeline.0.weight": (2 * inner, width), "pooler_pipeline.0.bias": (2 * inner,),
              "pooler_pipeline.2.weight": (width, inner), "pooler_pipeline.2.bias": (width,)}  # fmt: skip
    shapes |= {f"reward_heads.{name}.weight": (1, width) for name in config["reward_heads"]}
    return {name: (0.5 * torch.randn(shape)).half() for name, shape in shapes.items()}


def released_files(
    folder: Path, head: bool = True, pickled: bool = False, tokenizer: bool = True
) -> dict[str, bytes]:
    """The files of a repository; `folder` is one to work in."""
    config = CONFIG | (HEAD if head else {})
    state = released_state(config, seed=int(head)) | (released_head(config) if head else {})
    stream = io.BytesIO()
    torch.save(state, stream)
    weights = {"pytorch_model.bin": stream.getvalue()} if pickled else {"model.safetensors": save(state)}
    return {
        "config.json": json.dumps(config).encode(),
        **weights,
        **(tokenizer_files(folder) if tokenizer else {}),
    }


def tokenizer_files(folder: Path) -> dict[str, bytes]:
    """The tiny tokenizer's files."""
    folder.mkdir(parents=True, exist_ok=True)
    tiny_tokenizer(folder)
    return {path.name: path.read_bytes() for path in folder.glob("*token*")}


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    """Write a repository's files into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder

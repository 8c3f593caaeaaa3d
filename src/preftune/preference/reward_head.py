"""Reward heads: named linear heads on one shared pooler, and their files.

Source: Hadji-Kyriacou and Arandjelovic (2024), arXiv 2405.20053 (Direct Preference Heads).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from preftune.errors import PreftuneError
from preftune.files import read_json, write_json
from preftune.preference.poolers import build_pooler

HEAD_WEIGHTS = "head.safetensors"
HEAD_CONFIG = "head.json"
INITIAL_STD = 0.02


@dataclass(frozen=True)
class HeadConfig:
    """What a reward head is: enough to rebuild it around its weights."""

    pooler: str
    width: int
    inner_width: int
    marker_id: int
    names: tuple[str, ...] = ("reward",)
    dropout: float = 0.0


class RewardHead(nn.Module):
    """Named linear reward heads w^T f(h) on one shared pooler f, kept and computed in fp32."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        if not config.names or len(set(config.names)) < len(config.names):
            raise PreftuneError(
                f"reward heads {list(config.names)} are empty or repeat a name; name each head once"
            )
        self.config = config
        self.pooler = build_pooler(config.pooler, config.width, config.inner_width, config.dropout)
        self.heads = nn.ModuleDict({name: nn.Linear(config.width, 1, bias=False) for name in config.names})
        self.apply(_initialise)

    def forward(self, hidden: Tensor) -> dict[str, Tensor]:
        """Rewards `[rows]` of each head from hidden states `[rows, width]`."""
        with torch.autocast(hidden.device.type, enabled=False):
            pooled = self.pooler(hidden.float())
            return {name: head(pooled).squeeze(-1) for name, head in self.heads.items()}


def state_width(config: Any) -> int:
    """Width of the states that a head reads: OPT-350m projects its last ones to the width of its table."""
    return int(getattr(config, "word_embed_proj_dim", None) or config.hidden_size)


def save_head(head: RewardHead, folder: Path) -> None:
    """Write `head.safetensors` and `head.json` into `folder`."""
    config = head.config
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in head.state_dict().items()}
    save_file(weights, Path(folder) / HEAD_WEIGHTS)
    write_json(Path(folder) / HEAD_CONFIG, {**vars(config), "names": list(config.names)})


def load_head(folder: Path) -> RewardHead:
    """Read a head from `head.json` and `head.safetensors`; one-sentence errors name the file."""
    path = Path(folder) / HEAD_CONFIG
    fields = read_json(path)
    try:
        config = HeadConfig(**{**fields, "names": tuple(fields["names"])})
    except (KeyError, TypeError) as error:
        raise PreftuneError(
            f"{path} does not describe a reward head ({error}); train the run again"
        ) from error
    head = RewardHead(config)
    weights = Path(folder) / HEAD_WEIGHTS
    if not weights.exists():
        raise PreftuneError(f"{weights} is missing beside {path}; copy both files or train the run again")
    try:
        head.load_state_dict(load_file(weights))
    except RuntimeError as error:
        raise PreftuneError(
            f"{weights} does not fit {path}; they are of different runs, train again"
        ) from error
    return head


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=INITIAL_STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)

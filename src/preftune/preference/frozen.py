"""Heads on a language model that stays as it is: the states that they read are computed once, then only heads train.

Source: the released code of Hadji-Kyriacou and Arandjelovic (2024), arXiv 2405.20053, `instruct_align_wrapped.py`, runs
the whole language model at every step for this.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from preftune.preference.reference import CachedPairs
from preftune.preference.reward_head import RewardHead
from preftune.preference.terms import add_up, flip_labels, reward_terms
from preftune.settings.alignment import AlignmentSettings
from preftune.training.objective import Logged


@dataclass(frozen=True)
class StatePair:
    """One pair: `states` [2, width]; `tokens` are those of its answers, which went through the model once, before."""

    name: str
    tokens: int
    states: Tensor


def head_group(head: RewardHead, settings: AlignmentSettings) -> dict[str, Any]:
    """The head's optimiser group: ordinary decay to zero, and its own learning rate."""
    return {
        "params": list(head.parameters()),
        "decay": settings.head_weight_decay,
        "decay_to": "zero",
        "lr": settings.head_learning_rate or settings.training.learning_rate,
    }


class HeadObjective:
    """The head's loss on cached states, the mean over the pairs of the global batch."""

    def __init__(self, head: RewardHead, pairs: CachedPairs, settings: AlignmentSettings, seed: int) -> None:
        self.head = head
        self.pairs = pairs
        self.settings = settings
        self.flipped = flip_labels(len(pairs.names), settings.flipped, seed)

    def __len__(self) -> int:
        return len(self.pairs.names)

    def draw(self, index: int, step: int) -> StatePair:
        """The pair."""
        states = self.pairs.states[index]
        return StatePair(
            self.pairs.names[index],
            self.pairs.tokens[index],
            states.flip(0) if self.flipped[index] else states,
        )

    def units(self, example: StatePair) -> int:
        """One pair."""
        return 1

    def split(self, examples: Sequence[StatePair], budget: int) -> list[list[int]]:
        """All at once: a head needs next to no memory."""
        return [list(range(len(examples)))]

    def loss(self, examples: Sequence[StatePair], units: int) -> tuple[Tensor, Logged]:
        """This micro-batch's part of the mean over `units` pairs, and of what is logged."""
        device = next(self.head.parameters()).device
        states = torch.stack([pair.states for pair in examples]).to(device)  # [pairs, 2, width]
        (rewards,) = self.head(states.flatten(0, 1)).values()
        chosen, rejected = rewards.view(-1, 2).unbind(dim=1)
        terms, logged = reward_terms(chosen, rejected, self.settings)
        return add_up(terms, logged, len(examples) / units)


def copy_policy(checkpoint: Path, folder: Path) -> None:
    """Copy a checkpoint's own files: the language model of a run that trains its head alone, to the last bit."""
    # The last one is Snakemake's time stamp of the other folder.
    left = shutil.ignore_patterns("run.json", "metrics.jsonl", ".snakemake_timestamp")
    shutil.copytree(checkpoint, folder, ignore=left, dirs_exist_ok=True)

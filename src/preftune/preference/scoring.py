"""Scores of the branches of many trees: log-probability and reward from one pass, in passes of a fixed number of tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from preftune.progress import track
from preftune.training.batches import TOKENS_PER_PASS
from preftune.training.trees import Tree

if TYPE_CHECKING:
    from preftune.preference.heads import PreferenceModel


@dataclass(frozen=True)
class BranchScores:
    """Of every branch of every tree, in order.

    log_probabilities: sum over its scored tokens, nats, float64 [branches]; NaN where not asked for.
    tokens: number of its scored tokens [branches].
    greedy: whether every scored token is the most likely one [branches]; all false where not asked for.
    rewards: by head name, float32 [branches]; empty for a model without heads.
    """

    log_probabilities: np.ndarray
    tokens: np.ndarray
    greedy: np.ndarray
    rewards: Mapping[str, np.ndarray]


@torch.no_grad()
def score_trees(
    model: "PreferenceModel",
    trees: Sequence[Tree],
    *,
    tokens_per_pass: int | None = None,
    log_probabilities: bool = True,
    skip_last: bool = False,
    greedy: bool = False,
    description: str = "scoring",
) -> BranchScores:
    """Score every branch, in eval mode whatever the model's mode is before and after.

    Args:
        tokens_per_pass: positions of one forward pass (None: by device); the scores do not depend on it.
        log_probabilities, skip_last, greedy: as in `PreferenceModel.forward`.
    """
    training = model.training
    model.eval()
    starts = np.cumsum([0, *(len(tree.branches) for tree in trees)])
    scores = BranchScores(
        log_probabilities=np.full(starts[-1], np.nan),
        tokens=np.array([len(branch) - skip_last for tree in trees for branch in tree.branches]),
        greedy=np.zeros(starts[-1], dtype=bool),
        rewards={
            name: np.empty(starts[-1], dtype=np.float32)
            for name in (model.head.config.names if model.head else ())
        },
    )
    budget = tokens_per_pass or TOKENS_PER_PASS[model.device.type]
    try:
        for group in track(model.reader.split(trees, budget), description, unit="batch"):
            places = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in group])
            output = model([trees[i] for i in group], log_probabilities, skip_last, greedy)
            if log_probabilities:
                scores.log_probabilities[places] = output.log_probabilities.double().cpu().numpy()
            if output.greedy is not None:
                misses = output.layout.sum_by_branch((~output.greedy).long())
                scores.greedy[places] = (misses == 0).cpu().numpy()
            for name, values in output.rewards.items():
                scores.rewards[name][places] = values.cpu().numpy()
    finally:
        model.train(training)
    return scores

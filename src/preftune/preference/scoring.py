"""Scores of the branches of many trees: log-probability and reward from one pass, in passes of a fixed number of tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from preftune.preference.reward_head import state_width
from preftune.progress import track
from preftune.training.batches import TOKENS_PER_PASS
from preftune.training.trees import Tree

if TYPE_CHECKING:
    from preftune.preference.heads import PreferenceModel


@dataclass(frozen=True)
class BranchScores:
    """Of every branch of every tree, in order.

    log_probabilities: sum over its tokens, nats, float64 [branches]; NaN where not asked for.
    last_log_probabilities: of its last token alone, which is `<|im_end|>` for an answer [branches]; NaN likewise.
    tokens: number of its tokens [branches].
    greedy: whether every token is the most likely one [branches]; all false where not asked for.
    rewards: by head name, float32 [branches]; empty for a model without heads.
    states: what the heads read, as the model computes it [branches, width]; None where not asked for.
    """

    log_probabilities: np.ndarray
    last_log_probabilities: np.ndarray
    tokens: np.ndarray
    greedy: np.ndarray
    rewards: Mapping[str, np.ndarray]
    states: torch.Tensor | None


@torch.no_grad()
def score_trees(
    model: "PreferenceModel",
    trees: Sequence[Tree],
    *,
    tokens_per_pass: int | None = None,
    log_probabilities: bool = True,
    greedy: bool = False,
    states: bool = False,
    description: str = "scoring",
) -> BranchScores:
    """Score every branch, in eval mode whatever the model's mode is before and after.

    Args:
        tokens_per_pass: positions of one forward pass (None: by device); the scores do not depend on it.
        log_probabilities, greedy, states: as in `PreferenceModel.forward`.
    """
    training = model.training
    model.eval()
    starts = np.cumsum([0, *(len(tree.branches) for tree in trees)])
    scores = BranchScores(
        log_probabilities=np.full(starts[-1], np.nan),
        last_log_probabilities=np.full(starts[-1], np.nan),
        tokens=np.array([len(branch) for tree in trees for branch in tree.branches]),
        greedy=np.zeros(starts[-1], dtype=bool),
        rewards={
            name: np.empty(starts[-1], dtype=np.float32)
            for name in (model.head.config.names if model.head else ())
        },
        states=torch.empty(starts[-1], state_width(model.causal_lm.config)) if states else None,
    )
    budget = tokens_per_pass or TOKENS_PER_PASS[model.device.type]
    try:
        for group in track(model.reader.split(trees, budget), description, unit="batch"):
            places = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in group])
            output = model([trees[i] for i in group], log_probabilities, greedy, states)
            if output.token_log_probabilities is not None:
                scores.log_probabilities[places] = output.log_probabilities.double().cpu().numpy()
                last = output.token_log_probabilities[output.layout.last_tokens]
                scores.last_log_probabilities[places] = last.double().cpu().numpy()
            if scores.states is not None and output.states is not None:
                scores.states[torch.from_numpy(places)] = output.states.float().cpu()
            if output.greedy is not None:
                misses = output.layout.sum_by_branch((~output.greedy).long())
                scores.greedy[places] = (misses == 0).cpu().numpy()
            for name, values in output.rewards.items():
                scores.rewards[name][places] = values.cpu().numpy()
    finally:
        model.train(training)
    return scores

"""The reward head's part of the total objective, and which training pairs have their labels flipped."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from preftune.preference.objectives.registry import REWARD_LOSSES, REWARD_PENALTIES
from preftune.settings.alignment import AlignmentSettings
from preftune.training.objective import Logged


def reward_terms(
    chosen: Tensor, rejected: Tensor, settings: AlignmentSettings
) -> tuple[list[Tensor], Logged]:
    """Weighted terms of the rewards `[pairs]` of preferred and dispreferred answers: the DPH loss and its penalty.

    Returns:
        Scalars, each the mean over the pairs; logged means: dph_loss, reward_penalty (where there is one),
        chosen_reward, rejected_reward, margin, accuracy.
    """
    loss = REWARD_LOSSES[settings.dph](chosen, rejected, settings.label_smoothing)
    terms, logged = (
        [settings.dph_weight * loss],
        {"dph_loss": loss.detach()} | summarise("", chosen, rejected),
    )
    if settings.reward_penalty != "none":
        penalty = REWARD_PENALTIES[settings.reward_penalty](chosen, rejected)
        terms.append(settings.reward_penalty_weight * penalty)
        logged["reward_penalty"] = penalty.detach()
    return terms, logged


def add_up(terms: Sequence[Tensor], logged: Logged, share: float) -> tuple[Tensor, Logged]:
    """A micro-batch's part of the global batch's mean: the sum of its terms, and what is logged, times its `share`."""
    return share * torch.stack(list(terms)).sum(), {name: share * value for name, value in logged.items()}


def summarise(prefix: str, chosen: Tensor, rejected: Tensor) -> Logged:
    """Means over the pairs of two rewards `[pairs]`, of their margin, and how often the preferred one is larger."""
    chosen, rejected = chosen.detach(), rejected.detach()
    return {
        f"{prefix}chosen_reward": chosen.mean(),
        f"{prefix}rejected_reward": rejected.mean(),
        f"{prefix}margin": (chosen - rejected).mean(),
        f"{prefix}accuracy": (chosen > rejected).float().mean(),
    }


def flip_labels(count: int, share: float, seed: int) -> Tensor:
    """Which of `count` pairs have their two answers exchanged, a seeded share of them [count], booleans."""
    flipped = torch.zeros(count, dtype=torch.bool)
    places = np.random.default_rng([seed, count]).permutation(count)[: round(share * count)]
    flipped[torch.from_numpy(places)] = True
    return flipped

"""The interval of one table cell: over seeds when there are enough of them, else over items."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import t as student_t

from preftune.stats.bootstrap import Array, percentile_interval

# Two seeds leave one degree of freedom (t = 12.7): their interval says less than the items' does.
SEEDS_FOR_T = 3


def t_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Student's t interval of the mean of independent values, two or more of them."""
    if len(values) < 2:
        raise ValueError(f"a t interval needs two values or more, not {len(values)}")
    mean = float(np.mean(values))
    spread = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    half = float(student_t.ppf((1 + level) / 2, len(values) - 1)) * spread
    return mean - half, mean + half


def bootstrap_interval(replicates: Array, seeds: int, level: float = 0.95) -> tuple[tuple[float, float], str]:
    """Percentile interval of replicates [resamples] over items (and seeds), and the name of its method."""
    over = "items" if seeds == 1 else f"items and {seeds} seeds"
    return percentile_interval(replicates, level), f"bootstrap over {over}"


def cell_interval(
    per_seed: Sequence[float], replicates: Array | None, level: float = 0.95
) -> tuple[tuple[float, float] | None, str]:
    """Interval of a mean over seeds and the name of its method.

    per_seed: one value a seed. replicates: bootstrap values [resamples] of their mean over items (and seeds),
    or None where the metric does not come from items.
    """
    if len(per_seed) >= SEEDS_FOR_T:
        return t_interval(per_seed, level), f"t over {len(per_seed)} seeds"
    if replicates is None:
        return None, "none: too few seeds, and no items to resample"
    return bootstrap_interval(replicates, len(per_seed), level)

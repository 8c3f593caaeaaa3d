"""The smallest difference that a paired comparison is likely to find, before anything is run.

For a two-sided test of level alpha that finds the difference with the power 1 - beta (Cohen 1988, ch. 1; for paired answers
Card et al. 2020, arXiv 2010.06595):

    delta = (z_{1 - alpha/2} + z_{1 - beta}) sqrt(V_items + V_seeds)
    V_items = (1/T^2) sum_t v_t / n_t       V_seeds = 2 s^2 / k

with T tasks of n_t items, v_t the variance of an item's difference, k seeds of both systems and s the standard deviation of
a system's mean over them. Seeds answer the same items, so more seeds leave V_items as it is.
"""

import math
from collections.abc import Sequence

from scipy.stats import norm

LEVEL, POWER = 0.05, 0.8


def detectable_difference(
    items: Sequence[int], item_variance: float, seeds: int, seed_deviation: float
) -> float:
    """The smallest difference of the plain mean over tasks that is found with a power of 80 % at the 5 % level.

    Args:
        items: number of items of each task, n_t [tasks].
        item_variance: v_t, in squared units of the difference; of answers that are right or wrong the share of items on which
            the systems disagree (less the squared difference, which is neglected).
        seeds: k, of each system.
        seed_deviation: s, in units of the difference.

    Raises:
        ValueError: no task, a task without items, or no seed.
    """
    if not items or min(items) < 1 or seeds < 1:
        raise ValueError("a comparison needs a task, an item of each and a seed")
    of_items = sum(item_variance / count for count in items) / len(items) ** 2
    of_seeds = 2 * seed_deviation**2 / seeds
    factor = float(norm.ppf(1 - LEVEL / 2) + norm.ppf(POWER))
    return factor * math.sqrt(of_items + of_seeds)

"""Is a predicted preference a probability? Reliability by bins, losses of single pairs, and a fitted temperature.

A pair's logit is that of the probability that its preferred answer wins: delta = r_w - r_l, or a multiple of it. Brier
score (Brier 1950) and log loss are those of a prediction for the outcome that did occur, so the order of the two answers
does not matter to them; bins do need an order that was fixed before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit
from scipy.stats import norm

from preftune.stats.bootstrap import Array, Indices, generator_of

BINS = 10
# Pairs that a half ranks all alike have their optimum at 0 or infinity.
TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True)
class Bin:
    """Pairs of similar prediction: mean prediction, observed share and its interval, number of predictions."""

    predicted: float
    observed: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Reliability:
    """Bins, mean squared error of the predictions, and expected calibration error."""

    bins: list[Bin]
    brier: float
    ece: float


def wilson_interval(share: float, count: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share of `count` trials (Wilson 1927)."""
    z = float(norm.ppf((1 + level) / 2))
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return middle - half, middle + half


def place_bins(predicted: Array) -> Indices:
    """The bin of equal width of every probability; 1 belongs to the last."""
    return np.minimum((predicted * BINS).astype(np.int64), BINS - 1)


def assess_reliability(predicted: Array, observed: Array, seeds: int = 1) -> Reliability:
    """Reliability of probabilities [predictions] for outcomes 0 or 1 [predictions], in bins of equal width.

    seeds: how often every pair stands among the predictions; intervals count a pair once.
    """
    place = place_bins(predicted)
    bins = []
    for number in np.unique(place):
        inside = place == number
        share, count = float(observed[inside].mean()), int(inside.sum())
        low, high = wilson_interval(share, count / seeds)
        bins.append(Bin(float(predicted[inside].mean()), share, low, high, count))
    gaps = sum(one.count * abs(one.predicted - one.observed) for one in bins)
    return Reliability(bins, float(np.mean((predicted - observed) ** 2)), gaps / len(predicted))


def rank_pairs(logits: Array) -> Array:
    """1 where the preferred answer is ranked first, 1/2 for a tie, else 0, in the shape of the logits."""
    return np.heaviside(logits, 0.5)


def brier_losses(logits: Array) -> Array:
    """(1 - sigma(logit))^2 of every pair, in the shape of the logits."""
    losses: Array = expit(-logits) ** 2
    return losses


def log_losses(logits: Array) -> Array:
    """-log sigma(logit) of every pair in nats, in the shape of the logits."""
    return np.logaddexp(0, -logits)


def bin_gaps(logits: Array, first_preferred: NDArray[np.bool_]) -> Array:
    """Prediction minus outcome of every pair in the column of its bin, 0 in the others [..., pairs, bins].

    The expected calibration error is the sum over bins of the absolute sum of a column, divided by the number of pairs.
    Predictions are for the first answer. logits: [..., pairs] of the preferred answer. first_preferred: [pairs].
    """
    predicted = expit(np.where(first_preferred, logits, -logits))
    gaps = (predicted - first_preferred)[..., None]
    return np.where(place_bins(predicted)[..., None] == np.arange(BINS), gaps, 0.0)


def fit_temperature(margins: Array) -> float:
    """The T within `TEMPERATURES` that gives margins r_w - r_l [pairs] the largest likelihood prod sigma(margin / T).

    The log loss is convex in 1 / T. One half of the data fits the prediction of the other (`split_halves`): on the pairs
    that fitted it a temperature looks better than it is (Guo et al. 2017 fit it on a validation set).
    """

    def loss(log_temperature: float) -> float:
        return float(log_losses(margins / math.exp(log_temperature)).mean())

    bounds = tuple(math.log(bound) for bound in TEMPERATURES)
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return float(math.exp(found.x))


def split_halves(name: str, items: int, seed: int = 0) -> NDArray[np.bool_]:
    """A seeded split of items in two halves [items], the same for equal (name, items, seed)."""
    return generator_of(f"halves of {name}", seed).permutation(items) < items // 2

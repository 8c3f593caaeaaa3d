"""Metrics of many resamples at once, from predictions and gold answers.

Every function takes draws [resamples, items] and gives one value a resample; an undefined value (no positive
prediction, no variance) is 0, as scikit-learn's F1 and Matthews correlation have it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import rankdata

from preftune.stats.bootstrap import Array, Indices


def divide(numerator: Array, denominator: Array) -> Array:
    """numerator / denominator, 0 where the denominator is 0."""
    return np.divide(
        numerator, denominator, out=np.zeros_like(numerator, dtype=float), where=denominator != 0
    )


def accuracy(gold: Array, predicted: Array, draws: Indices) -> Array:
    """Share of predictions that equal the gold answer."""
    return (gold == predicted)[draws].mean(axis=1)


def f1(gold: Array, predicted: Array, draws: Indices) -> Array:
    """F1 of class 1."""
    hits = ((gold == 1) & (predicted == 1))[draws].sum(axis=1).astype(float)
    either = ((gold == 1).astype(float) + (predicted == 1))[draws].sum(axis=1)
    return divide(2 * hits, either)


def correlate(x: Array, y: Array) -> Array:
    """Pearson correlation of each row of x, y [resamples, items]."""
    x = x - x.mean(axis=1, keepdims=True)
    y = y - y.mean(axis=1, keepdims=True)
    scale = np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    scale[scale < 1e-12] = 0  # rounding error of a constant row
    return divide((x * y).sum(axis=1), scale)


def pearson(gold: Array, predicted: Array, draws: Indices) -> Array:
    """Pearson correlation of predictions and gold values."""
    return correlate(gold[draws], predicted[draws])


def matthews(gold: Array, predicted: Array, draws: Indices) -> Array:
    """Matthews correlation of two classes, which is the Pearson correlation of their 0/1 indicators."""
    return pearson((gold == 1).astype(float), (predicted == 1).astype(float), draws)


def spearman(gold: Array, predicted: Array, draws: Indices) -> Array:
    """Spearman correlation, ranks with ties averaged within each resample."""
    return correlate(rankdata(gold[draws], axis=1), rankdata(predicted[draws], axis=1))


METRICS: dict[str, Callable[[Array, Array, Indices], Array]] = {
    "accuracy": accuracy,
    "f1": f1,
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
}

"""Paired bootstraps over items and seeds, stratified by task (Efron & Tibshirani 1993, ch. 6, 16).

Items of a task and seeds are crossed: every seed answers the same items. A resample draws items with
replacement within each task, and seeds with replacement where there are several, the same draw for both
systems wherever they share it. With two or three seeds the seed part is a lower bound on the real spread.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
RESAMPLES = 2000
# Draws that are counted at once: their counts are a matrix [BLOCK, items].
BLOCK = 100


@dataclass(frozen=True)
class Effect:
    """A difference a - b with its percentile interval; n_seeds is the smaller of the two systems'."""

    effect: float
    low: float
    high: float
    n_items: int
    n_seeds: int


def generator_of(name: str, seed: int) -> np.random.Generator:
    """The random generator of what has this name."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def resample_items(name: str, items: int, resamples: int = RESAMPLES, seed: int = 0) -> Indices:
    """Item draws [resamples, items]; equal for equal (name, items, seed), so that systems are paired."""
    return generator_of(name, seed).integers(0, items, size=(resamples, items))


def resample_seeds(seeds: int, resamples: int = RESAMPLES, seed: int = 0) -> Array:
    """Weights over seeds [resamples, seeds], each row summing to 1; a single seed always weighs 1."""
    if seeds == 1:
        return np.ones((resamples, 1))
    counts = np.random.default_rng([seed, seeds]).multinomial(seeds, [1 / seeds] * seeds, size=resamples)
    return counts / seeds


def bootstrap_means(values: Array, name: str, resamples: int = RESAMPLES, seed: int = 0) -> Array:
    """Resampled means [resamples] of values [seeds, items] over items and seeds."""
    by_item = resample_seeds(len(values), resamples, seed) @ values  # [resamples, items]
    draws = resample_items(name, values.shape[1], resamples, seed)
    return np.take_along_axis(by_item, draws, axis=1).mean(axis=1)


def resample_sums(values: Array, name: str, resamples: int = RESAMPLES, seed: int = 0) -> Array:
    """Sums [resamples, columns] of values [items, columns] over drawn items: for ratios of sums."""
    items = len(values)
    draws = resample_items(name, items, resamples, seed)
    sums = []
    for start in range(0, resamples, BLOCK):
        block = draws[start : start + BLOCK]
        places = block + items * np.arange(len(block))[:, None]
        counts = np.bincount(places.ravel(), minlength=block.size).reshape(block.shape)
        sums.append(counts @ values)
    return np.concatenate(sums)


def percentile_interval(replicates: Array, level: float = 0.95) -> tuple[float, float]:
    """The central percentile interval of bootstrap replicates [resamples]."""
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(replicates, [tail, 100 - tail])
    return float(low), float(high)


def paired_bootstrap_accuracy(
    a: Mapping[str, Array],
    b: Mapping[str, Array],
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> Effect:
    """Difference of the mean over tasks of accuracy, a - b, as fractions.

    a, b: task -> correctness [seeds, items] of the same tasks and items; the numbers of seeds may differ (a
    base model has one), and seeds are then drawn independently. Raises ValueError for unequal tasks or items.
    """
    if set(a) != set(b) or not a:
        raise ValueError(f"the two systems must share their tasks: {sorted(a)} and {sorted(b)}")
    effects, replicates = [], []
    for task in sorted(a):
        if a[task].shape[1] != b[task].shape[1] or a[task].size == 0:
            raise ValueError(f"task {task}: {a[task].shape[1]} and {b[task].shape[1]} items cannot be paired")
        effects.append(a[task].mean() - b[task].mean())
        replicates.append(
            bootstrap_means(a[task], task, resamples, seed) - bootstrap_means(b[task], task, resamples, seed)
        )
    low, high = percentile_interval(np.mean(replicates, axis=0), level)
    items = sum(values.shape[1] for values in a.values())
    seeds = min(min(len(values) for values in system.values()) for system in (a, b))
    return Effect(float(np.mean(effects)), low, high, items, seeds)


def bootstrap_ratios(
    above: Array,
    below: Array,
    name: str,
    of: Callable[[Array], Array],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Array:
    """Resampled values [resamples] of `of(sum above / sum below)` over the drawn items, mean over seeds.

    above, below: sums per item [seeds, items].
    """
    draws = resample_items(name, above.shape[1], resamples, seed)
    by_seed = np.stack(
        [
            of(row[draws].sum(axis=1) / count[draws].sum(axis=1))
            for row, count in zip(above, below, strict=True)
        ],
        axis=1,
    )  # [resamples, seeds]
    return (by_seed * resample_seeds(len(above), resamples, seed)).sum(axis=1)


def bootstrap_perplexities(
    nll: Array, tokens: Array, name: str, resamples: int = RESAMPLES, seed: int = 0
) -> Array:
    """Resampled perplexities [resamples]: exp(sum nll / sum tokens) over the drawn images, mean over seeds.

    nll, tokens: sums per image [seeds, images]. The image, not the caption, is the unit: captions of one
    image are not independent.
    """
    return bootstrap_ratios(nll, tokens, name, np.exp, resamples, seed)


def perplexities(nll: Array, tokens: Array) -> Array:
    """Corpus perplexity of each seed [seeds] from sums per image [seeds, images]."""
    return np.exp(nll.sum(axis=1) / tokens.sum(axis=1))


def paired_bootstrap_nll(
    a_nll: Array,
    a_tokens: Array,
    b_nll: Array,
    b_tokens: Array,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> Effect:
    """Difference of corpus perplexity, a - b (below 0: a is better), paired over images.

    All arrays are sums per image [seeds, images], the same images in the same order.
    """
    if a_nll.shape[1] != b_nll.shape[1] or a_nll.size == 0:
        raise ValueError(f"{a_nll.shape[1]} and {b_nll.shape[1]} images cannot be paired")
    replicates = bootstrap_perplexities(a_nll, a_tokens, "images", resamples, seed) - bootstrap_perplexities(
        b_nll, b_tokens, "images", resamples, seed
    )
    low, high = percentile_interval(replicates, level)
    effect = perplexities(a_nll, a_tokens).mean() - perplexities(b_nll, b_tokens).mean()
    return Effect(float(effect), low, high, a_nll.shape[1], min(len(a_nll), len(b_nll)))

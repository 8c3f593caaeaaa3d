"""What alignment did to the language model, from drift files: `<run>/seed-<seed>/drift.json` and `drift.parquet`.

Divergence is KL(SFT || run) in nats a token over held-out answers; perplexity that of plain text; length,
repetition and the share of ended answers are those of greedy answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from preftune.errors import PreftuneError
from preftune.stats.bootstrap import Array, bootstrap_perplexities, resample_items, resample_seeds
from preftune.stats.resampled import divide
from preftune.tables.measures import RESAMPLES, Measure
from preftune.tables.scores import ScoreStore, stack

REMEDY = "delete it and measure the drift again"
FILE = "drift"


@dataclass(frozen=True)
class Quantity:
    """A ratio of sums over items of one kind; an empty denominator counts the items."""

    kind: str
    numerator: str
    denominator: str
    says: str


QUANTITIES = {
    "kl_per_token": Quantity("answer", "kl", "tokens", "sum of KL(SFT || run) / sum of tokens"),
    "text_perplexity": Quantity("text", "nll", "tokens", "exp(sum NLL / sum tokens)"),
    "length_mean": Quantity("generation", "length", "", "mean length of greedy answers"),
    "repetition": Quantity("generation", "repeated", "ngrams", "share of repeated 4-grams"),
    "ended": Quantity("generation", "ended", "", "share of answers that ended with <|im_end|>"),
}


@dataclass(frozen=True)
class Sums:
    """Numerators and denominators of one seed's items [items], sorted by item."""

    items: tuple[str, ...]
    numerator: Array
    denominator: Array


def measure_drift(store: ScoreStore, run: str, name: str) -> Measure | None:
    """One drift quantity of a run, with bootstrap replicates over its items; None where it was not measured."""
    quantity = QUANTITIES[name]
    stated = {seed: store.read(run, seed, FILE).get(name) for seed in store.seeds(run, FILE)}
    per_seed = {seed: float(value) for seed, value in stated.items() if value is not None}
    if not per_seed:
        return None
    files = tuple(store.path(run, seed, FILE).as_posix() for seed in per_seed)
    sums = [read_sums(store, run, seed, quantity) for seed in per_seed]
    found = [one for one in sums if one is not None]
    replicates, count = None, 0
    if len(found) == len(sums):
        check_sums(found, list(per_seed.values()), name, files)
        replicates, count = replicate(found, name), len(found[0].items)
    return Measure(per_seed, replicates, count, "", files, f"{quantity.says}, mean over seeds")


def read_sums(store: ScoreStore, run: str, seed: int, quantity: Quantity) -> Sums | None:
    """The items behind a quantity, or None where the file has no items beside it."""
    columns = [name for name in (quantity.numerator, quantity.denominator) if name]
    frame = store.table(run, seed, FILE, ("kind", "item", *columns))
    if frame is None:
        return None
    rows = frame[frame["kind"] == quantity.kind].sort_values("item")
    numerator, *rest = (rows[column].to_numpy(dtype=float) for column in columns)
    return Sums(tuple(map(str, rows["item"])), numerator, rest[0] if rest else np.ones_like(numerator))


def check_sums(found: list[Sums], stated: list[float], name: str, files: tuple[str, ...]) -> None:
    """Every seed must have the same items, and they must give the number that the file states."""
    if len({one.items for one in found}) > 1:
        raise PreftuneError(f"the seeds of {files[0]} were measured on different items: {REMEDY}.")
    for one, value, file in zip(found, stated, files, strict=True):
        again = float(ratio(one.numerator.sum(), one.denominator.sum(), name))
        if abs(again - value) > 1e-3 * max(1.0, abs(value)):
            raise PreftuneError(f"{file}: {name} is {value:.4f} but its items give {again:.4f}: {REMEDY}.")


def ratio(numerator: Array, denominator: Array, name: str) -> Array:
    """A quantity from its sums; 0 where the denominator is 0 (answers too short for a 4-gram)."""
    value = divide(np.asarray(numerator), np.asarray(denominator))
    return np.exp(value) if name == "text_perplexity" else value


def replicate(found: list[Sums], name: str) -> Array:
    """Bootstrap replicates [resamples] of the mean over seeds, over items and seeds."""
    kind = QUANTITIES[name].kind
    numerators, denominators = stack([s.numerator for s in found]), stack([s.denominator for s in found])
    if name == "text_perplexity":
        return bootstrap_perplexities(numerators, denominators, kind, RESAMPLES)
    draws = resample_items(kind, numerators.shape[1], RESAMPLES)
    pairs = zip(numerators, denominators, strict=True)
    values = [ratio(top[draws].sum(axis=1), bottom[draws].sum(axis=1), name) for top, bottom in pairs]
    return (np.stack(values, axis=1) * resample_seeds(len(found), RESAMPLES)).sum(axis=1)

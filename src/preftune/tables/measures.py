"""A measured quantity: its value for each seed, its bootstrap replicates, and the files that it came from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from preftune.errors import PreftuneError
from preftune.stats.bootstrap import (
    Array,
    bootstrap_means,
    bootstrap_perplexities,
    resample_items,
    resample_seeds,
)
from preftune.stats.resampled import METRICS
from preftune.tables.cells import Cell
from preftune.tables.scores import REMEDY, Choices, Losses, ScoreStore, stack

RESAMPLES = 2000
IMAGES = "images"
UNDEFINED = "; undefined (constant predictions), counted as 0"
# Columns of captions.parquet whose mean over images is the corpus metric; BLEU and METEOR pool counts.
ITEM_COLUMNS = {
    "CIDEr": "cider", "CIDEr_shuffled": "cider_shuffled", "ROUGE-L": "rouge_l", "SPICE": "spice",
}  # fmt: skip


@dataclass(frozen=True)
class Measure:
    """Unscaled values by seed; replicates [resamples] of their mean, None where there are no items.

    resampled: the interval is that of the replicates, however many seeds there are; without replicates there is none.
    items: the names of what was scored, so that only the same ones are paired; empty where they are not known.
    """

    per_seed: dict[int, float]
    replicates: Array | None
    n_items: int
    split: str
    files: tuple[str, ...]
    aggregation: str
    resampled: bool = False
    items: tuple[str, ...] = ()

    @property
    def value(self) -> float:
        """The mean over seeds."""
        return float(np.mean(list(self.per_seed.values())))


def measure(store: ScoreStore, cell: Cell) -> Measure | None:
    """What the run of a leaf cell scored on its task, or None when it was not run."""
    if cell.metric in METRICS:
        return measure_task(store, cell.run, cell.task, cell.score, cell.metric)
    if cell.metric in ("perplexity", "perplexity_blank"):
        return measure_perplexity(store, cell.run, cell.task, cell.metric)
    if cell.metric == "lm_trainable_parameters":
        return measure_field(store, cell.run, cell.task, cell.metric)
    return measure_captions(store, cell.run, cell.metric)


def _number(value: object, path: object, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise PreftuneError(f"{path}: {key} is {value!r}, not a number: {REMEDY}.")
    return float(value)


def _count(store: ScoreStore, run: str, seed: int, task: str, key: str) -> int:
    return int(_number(store.read(run, seed, task).get(key), store.path(run, seed, task), key))


def _common(store: ScoreStore, run: str, task: str) -> tuple[list[int], str, tuple[str, ...]]:
    seeds = store.seeds(run, task)
    splits = {str(store.read(run, seed, task).get("split", "")) for seed in seeds}
    if len(splits) > 1:
        raise PreftuneError(
            f"the seeds of {run}, {task} were scored on different splits ({', '.join(sorted(splits))}): "
            "evaluate them again with the same settings."
        )
    return (
        seeds,
        splits.pop() if splits else "",
        tuple(store.path(run, seed, task).as_posix() for seed in seeds),
    )


def measure_task(store: ScoreStore, run: str, task: str, score: str, metric: str) -> Measure | None:
    """One metric of one task of one system, by its `log`, `reward` or `implicit` score."""
    seeds, split, _ = _common(store, run, task)
    per_seed: dict[int, float] = {}
    undefined = 0
    for seed in seeds:
        metrics = store.read(run, seed, task).get("metrics", {}).get(score)
        if metrics is not None:
            if metric not in metrics:
                raise PreftuneError(f"{store.path(run, seed, task)} has no {score} {metric}: {REMEDY}.")
            undefined += metrics[metric] is None  # the correlation of constant predictions
            per_seed[seed] = _number(metrics[metric] or 0.0, store.path(run, seed, task), f"{score} {metric}")
    if not per_seed:
        return None
    files = tuple(store.path(run, seed, task).as_posix() for seed in per_seed)
    items = [store.choices(run, seed, task, score) for seed in per_seed]
    answers = [choices for choices in items if choices is not None]
    n_items = _count(store, run, seeds[0], task, "n")
    replicates = None
    if len(answers) == len(per_seed):
        n_items = len(answers[0].documents)
        replicates = replicate_metric(answers, list(per_seed.values()), task, metric, files)
    aggregation = f"{metric} of {task}, mean over seeds" + UNDEFINED * bool(undefined)
    return Measure(per_seed, replicates, n_items, split, files, aggregation)


def correctness(
    store: ScoreStore, run: str, task: str, score: str
) -> tuple[list[int], tuple[str, ...], Array] | None:
    """Seeds, documents [items] and correct answers [seeds, items] of a task; None when it was not run so."""
    if not store.has_score(run, task, score):
        return None
    found = [(seed, store.choices(run, seed, task, score)) for seed in store.seeds(run, task)]
    answers = {seed: choices for seed, choices in found if choices is not None}
    if not answers:
        return None
    if len({choices.documents for choices in answers.values()}) > 1:
        raise PreftuneError(f"the seeds of {run} answered different questions of {task}: {REMEDY}.")
    documents = next(iter(answers.values())).documents
    return list(answers), documents, stack([choices.correct for choices in answers.values()])


def measure_correctness(store: ScoreStore, run: str, task: str, score: str) -> Measure | None:
    """Accuracy of any task from its items, also where its metric is another (STS-B: the rounded score)."""
    found = correctness(store, run, task, score)
    if found is None:
        return None
    seeds, documents, correct = found
    _, split, files = _common(store, run, task)
    per_seed = dict(zip(seeds, map(float, correct.mean(axis=1)), strict=True))
    replicates = bootstrap_means(correct, task, RESAMPLES)
    return Measure(per_seed, replicates, len(documents), split, files, f"accuracy of {task}, mean over seeds")


def replicate_metric(
    answers: Sequence[Choices], expected: Sequence[float], task: str, metric: str, files: Sequence[str]
) -> Array:
    """Bootstrap replicates [resamples] of a metric over items and seeds, which must give what is expected."""
    if len({choices.documents for choices in answers}) > 1:
        raise PreftuneError(
            f"the seeds of {files[0]} answered different questions: evaluate them again with one limit."
        )
    count = len(answers[0].documents)
    draws = resample_items(task, count, RESAMPLES)
    every = np.arange(count)[None]
    values = []
    for choices, value, file in zip(answers, expected, files, strict=True):
        gold, predicted = gold_and_predicted(choices, metric)
        again = float(METRICS[metric](gold, predicted, every)[0])
        if abs(again - value) > 1e-4:
            raise PreftuneError(f"{file}: {metric} is {value:.4f} but its items give {again:.4f}: {REMEDY}.")
        values.append(METRICS[metric](gold, predicted, draws))
    return (np.stack(values, axis=1) * resample_seeds(len(values), RESAMPLES)).sum(axis=1)


def gold_and_predicted(choices: Choices, metric: str) -> tuple[Array, Array]:
    """The two vectors [items] that a metric compares: labels' values for correlations, else candidates."""
    if metric in ("pearson", "spearman"):
        return choices.gold_value, choices.predicted_value
    if metric == "accuracy":
        return np.ones_like(choices.correct), choices.correct
    return choices.gold, choices.predicted


def measure_perplexity(store: ScoreStore, run: str, task: str, metric: str) -> Measure | None:
    """Corpus perplexity of the captions, with the image or with a blank one, resampled over images."""
    plain = measure_field(store, run, task, metric)
    if plain is None:
        return None
    losses = [store.losses(run, seed, task) for seed in plain.per_seed]
    found = [loss for loss in losses if loss is not None]
    if len(found) < len(losses):
        return plain
    if len({loss.images for loss in found}) > 1:
        raise PreftuneError(
            f"the seeds of {run} were scored on different images: evaluate them again with one limit."
        )
    nll, tokens = stack([_nll(loss, metric) for loss in found]), stack([loss.tokens for loss in found])
    for value, row, count, file in zip(plain.per_seed.values(), nll, tokens, plain.files, strict=True):
        again = float(np.exp(row.sum() / count.sum()))
        if abs(again - value) > 1e-3 * value:
            raise PreftuneError(f"{file}: {metric} is {value:.4f} but its items give {again:.4f}: {REMEDY}.")
    replicates = bootstrap_perplexities(nll, tokens, IMAGES, RESAMPLES)
    return Measure(
        plain.per_seed,
        replicates,
        nll.shape[1],
        plain.split,
        plain.files,
        "exp(sum NLL / sum tokens), mean over seeds",
        items=tuple(map(str, found[0].images)),
    )


def _nll(losses: Losses, metric: str) -> Array:
    return losses.nll_blank if metric == "perplexity_blank" else losses.nll


def measure_field(store: ScoreStore, run: str, task: str, field: str) -> Measure | None:
    """One number of the metrics file, by seed."""
    seeds, split, files = _common(store, run, task)
    if not seeds:
        return None
    values = {seed: store.read(run, seed, task).get(field) for seed in seeds}
    per_seed = {seed: _number(value, store.path(run, seed, task), field) for seed, value in values.items()}
    count = _count(store, run, seeds[0], task, "n_images")
    return Measure(per_seed, None, count, split, files, f"{field}, mean over seeds")


def measure_captions(store: ScoreStore, run: str, metric: str) -> Measure | None:
    """One caption metric, with the captions in place or shuffled over the images (`CIDEr_shuffled`)."""
    seeds, split, files = _common(store, run, "captions")
    if not seeds:
        return None
    group, key = ("shuffled", "CIDEr") if metric == "CIDEr_shuffled" else ("metrics", metric)
    per_seed = {
        seed: _number(
            store.read(run, seed, "captions").get(group, {}).get(key), store.path(run, seed, "captions"), key
        )
        for seed in seeds
    }
    count = _count(store, run, seeds[0], "captions", "n")
    rows = [_image_scores(store, run, seed, metric) for seed in seeds]
    found = [row for row in rows if row is not None]
    means = list(per_seed.values())
    pooled = len(found) < len(rows) or any(
        abs(row.mean() - mean) > 1e-3 for row, mean in zip(found, means, strict=True)
    )
    replicates = (
        None if pooled else bootstrap_means(stack([row.to_numpy() for row in found]), IMAGES, RESAMPLES)
    )
    items = tuple(map(str, found[0].index)) if found else ()
    says = f"{key} of the corpus, mean over seeds"
    return Measure(per_seed, replicates, count, split, files, says, items=items)


def _image_scores(store: ScoreStore, run: str, seed: int, metric: str) -> pd.Series[float] | None:
    if metric not in ITEM_COLUMNS:
        return None
    column = ITEM_COLUMNS[metric]
    frame = store.table(run, seed, "captions", ("image_id", column))
    return None if frame is None else frame.set_index("image_id")[column].sort_index().astype(float)


def combine(
    members: Sequence[Measure],
    formula: Callable[[Sequence[Array]], Array],
    aggregation: str,
    paired: bool = False,
) -> Measure | None:
    """A function of measures, seed by seed over the seeds that all have.

    Raises:
        PreftuneError: paired measures are not of the same items.
    """
    if paired:
        for member in members[1:]:
            require_same_items(members[0], member)
    shared = sorted(set.intersection(*(set(member.per_seed) for member in members)))
    if not shared:
        return None
    by_seed = formula([np.array([member.per_seed[seed] for seed in shared]) for member in members])
    replicates = None
    columns = [member.replicates for member in members]
    present = [column for column in columns if column is not None]
    complete = all(len(member.per_seed) == len(shared) for member in members)
    if len(present) == len(columns) and complete:
        replicates = formula(present)
    # Two metrics of one task have their items in common.
    counts = {member.files: member.n_items for member in members}
    items = members[0].n_items if paired else sum(counts.values())
    splits = sorted({member.split for member in members if member.split})
    files = tuple(dict.fromkeys(file for member in members for file in member.files))
    per_seed = dict(zip(shared, map(float, by_seed), strict=True))
    return Measure(per_seed, replicates, items, "+".join(splits), files, aggregation)


def require_same_items(a: Measure, b: Measure) -> None:
    """Raise PreftuneError where two measures to be paired are of different questions, images or passages."""
    named = a.items and b.items
    if (a.items != b.items) if named else (a.n_items != b.n_items):
        files = (measure.files[0] if measure.files else measure.aggregation for measure in (a, b))
        raise PreftuneError(f"{' and '.join(files)} are of different items: evaluate both with one limit.")


def subtract(a: Measure, b: Measure, says: str) -> Measure | None:
    """a - b over the same items, with the bootstrap's interval over items (and seeds)."""
    difference = combine([a, b], lambda columns: columns[0] - columns[1], says, paired=True)
    return None if difference is None else replace(difference, resampled=True)

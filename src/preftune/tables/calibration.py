"""Is a reward's prediction a probability? Accuracy, Brier score, log loss and calibration error of every reward head.

Let delta be the reward of the preferred answer less that of the other. The contrastive loss makes sigma(delta) the
probability that the preferred one wins, the separable loss sigma(delta / 2) where a pair's rewards are centred on zero
(docs/theory.md, T4 and T8). With one temperature T, fitted on other questions, it is sigma(delta / T).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from preftune.errors import PreftuneError
from preftune.stats.bootstrap import Array, Indices, resample_seeds, resample_sums
from preftune.stats.calibration import (
    bin_gaps,
    brier_losses,
    fit_temperature,
    log_losses,
    rank_pairs,
    split_halves,
)
from preftune.tables.averages import CHOICE_SUITES
from preftune.tables.measures import RESAMPLES, Measure
from preftune.tables.pairs import read_pairs, rewarded_tasks
from preftune.tables.preferences import PAIRS
from preftune.tables.scores import REMEDY, ScoreStore
from preftune.tables.settings import AlignmentTableSettings
from preftune.tables.sheet import Sheet
from preftune.tables.sources import Sources

SETS = (("pairs", PAIRS), ("choice", CHOICE_SUITES))
WHOLE, HALVED, FITTED = "σ(δ)", "σ(δ/2)", "σ(δ/T)"
MEANS = {"accuracy": rank_pairs, "brier": brier_losses, "log_loss": log_losses}
COLUMNS = {
    "n": "compared_pairs",
    "accuracy": "accuracy",
    "Brier": "brier",
    "log loss": "log_loss",
    "ECE": "ece",
    "T": "temperature",
}


@dataclass(frozen=True)
class TaskPairs:
    """One task's pairs, sorted by question: margins delta [seeds, pairs], whether the preferred answer stands first
    [pairs], and the number of each pair's question [pairs].
    """

    task: str
    margins: Array
    first_preferred: NDArray[np.bool_]
    documents: Indices

    @property
    def count(self) -> int:
        """The number of questions."""
        return int(self.documents[-1]) + 1

    def sum_questions(self, values: Array) -> Array:
        """Sums over each question's pairs [questions, columns] of values [pairs, columns]."""
        starts = np.flatnonzero(np.diff(self.documents, prepend=-1))
        return np.add.reduceat(values, starts, axis=0)


@dataclass(frozen=True)
class Pool:
    """The pairs of some tasks that all seeds of a run have scored."""

    name: str
    tasks: tuple[TaskPairs, ...]
    seeds: tuple[int, ...]
    split: str
    files: tuple[str, ...]

    @property
    def questions(self) -> int:
        """The number of questions: what is resampled."""
        return sum(task.count for task in self.tasks)

    def measure(self, values: Array, replicates: Array | None, says: str) -> Measure:
        """Values [seeds] with the replicates [resamples] of their mean."""
        per_seed = dict(zip(self.seeds, map(float, values), strict=True))
        return Measure(per_seed, replicates, self.questions, self.split, self.files, says)


def tabulate_calibration(sheet: Sheet, sources: Sources, settings: AlignmentTableSettings) -> None:
    """Every run with a head, by each prediction that its loss gives rise to, on held-out pairs and choice tasks."""
    for run in settings.runs:
        facts = settings.settings.get(run)
        pools = {name: read_pool(sources.scores, run, name, suites) for name, suites in SETS}
        if (facts is None or facts.dph == "none") and not any(pools.values()):
            continue
        halved = (HALVED,) if facts is not None and facts.dph == "separable" else ()
        for prediction in (WHOLE, *halved, FITTED):
            for name, pool in pools.items():
                add_prediction(sheet, run, name, prediction, pool)


def read_pool(store: ScoreStore, run: str, name: str, suites: tuple[str, ...]) -> Pool | None:
    """A run's pairs of the tasks of some suites, or None where it has no reward for them."""
    tasks = rewarded_tasks(store, run, suites)
    seeds = sorted(set.intersection(*(set(store.seeds(run, task)) for task in tasks))) if tasks else []
    if not seeds:
        return None
    read = tuple(read_task(store, run, seeds, task) for task in tasks)
    files = tuple(store.path(run, seed, task).as_posix() for task in tasks for seed in seeds)
    splits = {str(store.read(run, seeds[0], task).get("split", "")) for task in tasks}
    return Pool(name, read, tuple(seeds), "+".join(sorted(splits - {""})), files)


def read_task(store: ScoreStore, run: str, seeds: Sequence[int], task: str) -> TaskPairs:
    """One task's pairs of several seeds, which must have answered the same questions."""
    found = [read_pairs(store, run, seed, task) for seed in seeds]
    first = found[0]
    if not all(
        np.array_equal(one.documents, first.documents)
        and np.array_equal(one.first_preferred, first.first_preferred)
        for one in found
    ):
        raise PreftuneError(f"the seeds of {run} answered different questions of {task}: {REMEDY}.")
    margins = np.stack([one.preferred - one.dispreferred for one in found])
    numbers = np.unique(first.documents, return_inverse=True)[1].astype(np.int64)
    return TaskPairs(task, margins, first.first_preferred, numbers)


def add_prediction(sheet: Sheet, run: str, name: str, prediction: str, pool: Pool | None) -> None:
    """Add the cells of one prediction on one set of pairs."""
    row, missing = f"{run}, {prediction}", f"reward scores of {run} on {name}"
    found = {} if pool is None else measure_prediction(pool, prediction)
    for column, metric in COLUMNS.items():
        label = f"{name}, {column}"
        if pool is None or metric in found:
            sheet.add(row, label, metric, found.get(metric), run=run, score="reward", missing=missing)
        else:
            reason = "T is of the fitted prediction, and takes two questions"
            sheet.leave_blank(row, label, metric, run=run, score="reward", reason=reason)


def measure_prediction(pool: Pool, prediction: str) -> dict[str, Measure]:
    """Measures of one prediction by metric; none where T is to be fitted and there is but one question."""
    if prediction != FITTED:
        scale = 0.5 if prediction == HALVED else 1.0
        return assess(pool, [scale * task.margins for task in pool.tasks])
    if pool.questions < 2:
        return {}
    temperatures = fit_halves(pool)
    logits = cross_fit(pool, temperatures)
    says = f"geometric mean of T, fitted on either half of {pool.name}, mean over seeds"
    fitted = pool.measure(np.exp(np.log(temperatures).mean(axis=1)), None, says)
    return {**assess(pool, logits), "temperature": fitted}


def halves_of(pool: Pool) -> list[NDArray[np.bool_]]:
    """The half in which every pair's question stands [pairs], by task; questions are split once for all runs."""
    half = split_halves(pool.name, pool.questions)
    starts = np.cumsum([0, *(task.count for task in pool.tasks[:-1])])
    return [half[start + task.documents] for start, task in zip(starts, pool.tasks, strict=True)]


def fit_halves(pool: Pool) -> Array:
    """Temperatures [seeds, 2] that fit the pairs of either half."""
    half = np.concatenate(halves_of(pool))
    margins = np.concatenate([task.margins for task in pool.tasks], axis=1)
    return np.array([[fit_temperature(row[half == one]) for one in (False, True)] for row in margins])


def cross_fit(pool: Pool, temperatures: Array) -> list[Array]:
    """Margins over the temperature of the half where the pair does not stand [seeds, pairs], by task."""
    other = [1 - half.astype(int) for half in halves_of(pool)]
    return [task.margins / temperatures[:, half] for task, half in zip(pool.tasks, other, strict=True)]


def assess(pool: Pool, logits: Sequence[Array]) -> dict[str, Measure]:
    """Accuracy, Brier score, log loss and ECE of predictions with these logits [seeds, pairs] of each task.

    All pairs count alike. Replicates draw the questions of each task, with all their pairs, and seeds; a fitted temperature
    stays as it is. ECE has none: it is a sum of absolute values, to which a resample adds its own noise.
    """
    seeds = len(pool.seeds)
    total, drawn, gaps = np.zeros(1), np.zeros((RESAMPLES, 1)), np.zeros(1)
    for task, values in zip(pool.tasks, logits, strict=True):
        columns = task.sum_questions(stack_losses(values))
        total, drawn = total + columns.sum(axis=0), drawn + resample_sums(columns, task.task, RESAMPLES)
        gaps = gaps + bin_gaps(values, task.first_preferred).sum(axis=1)  # [seeds, bins]
    stated, replicates = summarise(total, seeds), summarise(drawn, seeds)
    weights = resample_seeds(seeds, RESAMPLES)
    pairs = f"{pool.name} over {len(pool.tasks)} tasks, mean over seeds"
    found = {
        metric: pool.measure(
            stated[metric], (replicates[metric] * weights).sum(axis=1), f"{metric} of {pairs}"
        )
        for metric in stated
    }
    error = pool.measure(np.abs(gaps).sum(axis=1) / total[0], None, f"ece of {pairs}")
    count = pool.measure(np.full(seeds, total[0]), None, f"number of {pool.name}")
    return {"compared_pairs": count, **found, "ece": replace(error, resampled=True)}


def stack_losses(logits: Array) -> Array:
    """What is summed of every pair: 1, then of each seed the three losses [pairs, columns]."""
    losses = np.stack([loss(logits) for loss in MEANS.values()], axis=-1)  # [seeds, pairs, losses]
    by_pair = losses.swapaxes(0, 1).reshape(logits.shape[1], -1)
    return np.concatenate([np.ones((len(by_pair), 1)), by_pair], axis=1)


def summarise(sums: Array, seeds: int) -> dict[str, Array]:
    """Mean losses [..., seeds] from the sums of columns [..., columns]."""
    by_seed = (sums[..., 1:] / sums[..., :1]).reshape(*sums.shape[:-1], seeds, -1)
    return {metric: by_seed[..., place] for place, metric in enumerate(MEANS)}

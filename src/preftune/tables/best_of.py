"""Reward-chosen answers against greedy ones and against chance: `<run>/seed-<seed>/best_of.json` and `best_of.parquet`."""

from __future__ import annotations

import numpy as np

from preftune.errors import PreftuneError
from preftune.evaluation.choices import COLUMNS, QUANTITIES, judge_choices
from preftune.stats.bootstrap import Array, bootstrap_means
from preftune.tables.measures import RESAMPLES, Measure, subtract
from preftune.tables.scores import ScoreStore, stack
from preftune.tables.settings import AlignmentTableSettings
from preftune.tables.sheet import Sheet
from preftune.tables.sources import Sources

FILE = "best_of"
REMEDY = "delete it and run evaluate_best_of again"
LABELS = {
    "random": "random",
    "greedy": "greedy",
    "chosen": "reward-chosen",
    "oracle": "any of n",
    "disagree": "samples disagree",
}
BASELINES = ("random", "greedy")


def tabulate_best_of(sheet: Sheet, sources: Sources, settings: AlignmentTableSettings) -> None:
    """Shares of right answers of each run that was measured, and what the reward's choice adds."""
    store = sources.best_of
    for run in settings.runs:
        if not store.seeds(run, FILE):
            continue
        found = measure_choices(store, run)
        for name, label in LABELS.items():
            metric = "disagreement" if name == "disagree" else "mean_accuracy"
            sheet.add(run, label, metric, found[name], run=run)
        for name in BASELINES:
            difference = subtract(found["chosen"], found[name], f"reward-chosen - {LABELS[name]}")
            sheet.add(run, f"reward-chosen − {LABELS[name]}", "accuracy_difference", difference, run=run)


def measure_choices(store: ScoreStore, run: str) -> dict[str, Measure]:
    """The plain mean over tasks of each quantity, by its name; all draw the same questions.

    Raises:
        PreftuneError: answers are missing or not those of the summary, or the seeds answered different questions.
    """
    seeds = store.seeds(run, FILE)
    by_task = [read_choices(store, run, seed) for seed in seeds]
    files = tuple(store.path(run, seed, FILE).as_posix() for seed in seeds)
    asked = [{task: documents for task, (documents, _) in found.items()} for found in by_task]
    if any(other != asked[0] for other in asked):
        raise PreftuneError(f"the seeds of {run} answered different questions in {files[0]}: {REMEDY}.")
    split = str(store.read(run, seeds[0], FILE).get("split", ""))
    count = sum(map(len, asked[0].values()))
    measures = {}
    for place, name in enumerate(QUANTITIES):
        values = {task: stack([found[task][1][:, place] for found in by_task]) for task in asked[0]}
        means = np.mean([rows.mean(axis=1) for rows in values.values()], axis=0)
        replicates = np.mean(
            [bootstrap_means(rows, task, RESAMPLES) for task, rows in values.items()], axis=0
        )
        per_seed = dict(zip(seeds, map(float, means), strict=True))
        says = f"{name}: mean over {len(values)} tasks, mean over seeds"
        measures[name] = Measure(per_seed, replicates, count, split, files, says)
    return measures


def read_choices(store: ScoreStore, run: str, seed: int) -> dict[str, tuple[tuple[str, ...], Array]]:
    """Documents [questions] and quantities [questions, quantities] of each task, as the summary states them."""
    path = store.path(run, seed, FILE)
    answers = store.table(run, seed, FILE, COLUMNS)
    if answers is None:
        raise PreftuneError(f"{path} has no answers beside it: {REMEDY}.")
    judged = judge_choices(answers)
    stated = store.read(run, seed, FILE).get("tasks", {})
    found = {}
    for task, rows in judged.groupby("task", sort=True):
        values = rows[list(QUANTITIES)].to_numpy(dtype=float)
        said = [stated.get(task, {}).get(name, np.nan) for name in QUANTITIES]
        if not np.allclose(values.mean(axis=0), said, atol=1e-4):
            raise PreftuneError(f"{path}: what it states of {task} is not what its answers give: {REMEDY}.")
        found[str(task)] = (tuple(map(str, rows["document"])), values)
    return found

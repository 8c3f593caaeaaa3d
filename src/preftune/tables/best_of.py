"""Best of n by several scores against chance, greedy answers and an oracle: `<run>/seed-<seed>/best_of.json` and `best_of.parquet`."""

from __future__ import annotations

import numpy as np
import pandas as pd

from preftune.errors import PreftuneError
from preftune.evaluation.choices import CHOOSERS, COLUMNS, judge_choices
from preftune.stats.bootstrap import Array, bootstrap_means
from preftune.tables.measures import RESAMPLES, Measure, subtract
from preftune.tables.scores import ScoreStore, stack
from preftune.tables.settings import AlignmentTableSettings
from preftune.tables.sheet import Sheet
from preftune.tables.sources import Sources

FILE = "best_of"
REMEDY = "delete it and run evaluate_best_of again"
COMPARED = ("random", "greedy", "log")
"""With what the reward's choice is compared."""


def tabulate_best_of(sheet: Sheet, sources: Sources, settings: AlignmentTableSettings) -> None:
    """Shares of right answers of each run that was measured, by number of samples, and what the reward's choice adds."""
    store = sources.best_of
    for run in settings.runs:
        if store.seeds(run, FILE):
            found = measure_choices(store, run)
            for count in counts_of(found)[1:]:  # the choice from one sample is chance
                add_row(sheet, run, count, found)


def add_row(sheet: Sheet, run: str, count: int, found: dict[str, Measure]) -> None:
    """One run and number of samples."""
    row = f"{run}, n = {count}"
    for name in ("random", "greedy"):
        sheet.add(row, name, "mean_accuracy", found[name], run=run)
    for score in CHOOSERS:
        if f"{score}@{count}" in found:
            sheet.add(row, score, "mean_accuracy", found[f"{score}@{count}"], run=run)
        else:
            reason = f"{run} has no {score} score of answers"
            sheet.leave_blank(row, score, "mean_accuracy", run=run, reason=reason)
    sheet.add(row, "any of n", "mean_accuracy", found[f"oracle@{count}"], run=run)
    sheet.add(row, "samples disagree", "disagreement", found["disagree"], run=run)
    for name in COMPARED:
        other = found[f"log@{count}" if name == "log" else name]
        difference = subtract(found[f"reward@{count}"], other, f"reward - {name}")
        sheet.add(row, f"reward − {name}", "accuracy_difference", difference, run=run)


def counts_of(found: dict[str, Measure]) -> list[int]:
    """The numbers of samples that were chosen among."""
    return sorted(int(name.partition("@")[2]) for name in found if name.startswith("oracle@"))


def measure_choices(store: ScoreStore, run: str) -> dict[str, Measure]:
    """The plain mean over tasks of each quantity that the run has, by its name; all draw the same questions.

    Raises:
        PreftuneError: answers are missing or not those of the summary, or the seeds answered different questions.
    """
    seeds = store.seeds(run, FILE)
    by_seed = [read_choices(store, run, seed) for seed in seeds]
    files = tuple(store.path(run, seed, FILE).as_posix() for seed in seeds)
    asked = [found[["task", "document"]].to_numpy().tolist() for found in by_seed]
    columns = [list(found.columns) for found in by_seed]
    if any(other != asked[0] for other in asked) or any(other != columns[0] for other in columns):
        raise PreftuneError(f"the seeds of {run} answered different questions in {files[0]}: {REMEDY}.")
    split = str(store.read(run, seeds[0], FILE).get("split", ""))
    tasks = by_seed[0].groupby("task", sort=True).indices
    measures = {}
    for name in columns[0][2:]:
        values = {
            task: stack([found[name].to_numpy(dtype=float)[places] for found in by_seed])
            for task, places in tasks.items()
        }
        measures[name] = _measure(name, values, seeds, split, files)
    return measures


def _measure(
    name: str, values: dict[str, Array], seeds: list[int], split: str, files: tuple[str, ...]
) -> Measure:
    """The mean over tasks of values [seeds, questions], with replicates over questions and seeds."""
    means = np.mean([rows.mean(axis=1) for rows in values.values()], axis=0)
    replicates = np.mean([bootstrap_means(rows, task, RESAMPLES) for task, rows in values.items()], axis=0)
    says = f"{name}: mean over {len(values)} tasks, mean over seeds"
    per_seed = dict(zip(seeds, map(float, means), strict=True))
    return Measure(per_seed, replicates, sum(rows.shape[1] for rows in values.values()), split, files, says)


def read_choices(store: ScoreStore, run: str, seed: int) -> pd.DataFrame:
    """The judged questions of all tasks, without the scores that the run does not have, as the summary states them."""
    path = store.path(run, seed, FILE)
    answers = store.table(run, seed, FILE, COLUMNS)
    if answers is None:
        raise PreftuneError(f"{path} has no answers beside it: {REMEDY}.")
    judged = judge_choices(answers).dropna(axis="columns", how="all")
    if judged.isna().to_numpy().any():
        raise PreftuneError(f"{path}: some answers have no score that others have: {REMEDY}.")
    stated = store.read(run, seed, FILE).get("tasks", {})
    names = list(judged.columns[2:])
    for task, means in judged.groupby("task")[names].mean().iterrows():
        said = [stated.get(task, {}).get(name, np.nan) for name in names]
        if not np.allclose(means.to_numpy(), said, atol=1e-4):
            raise PreftuneError(f"{path}: what it states of {task} is not what its answers give: {REMEDY}.")
    return judged

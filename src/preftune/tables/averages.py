"""Mean accuracy of a run over several tasks, by one of its scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from preftune.stats.bootstrap import Array
from preftune.tables.measures import Measure, combine, measure_correctness
from preftune.tables.scores import ScoreStore

# The suites of the paper's three tables.
CHOICE_SUITES = ("glue", "gpt4all", "race")
SCORES = ("log", "implicit", "reward")


def suite_tasks(store: ScoreStore, run: str, suites: Sequence[str]) -> list[str]:
    """Tasks of the suites that a run has scored, by name."""
    return [task for task, suite in store.suites(run).items() if suite in suites]


def own_scores(store: ScoreStore, run: str) -> list[str]:
    """Scores that a run has: `log` always, `implicit` and `reward` where any task was scored so."""
    found = [score for score in SCORES if any(store.has_score(run, task, score) for task in store.names(run))]
    return ["log", *(score for score in found if score != "log")]


def mean_accuracy(store: ScoreStore, run: str, tasks: Sequence[str], score: str) -> Measure | None:
    """The plain mean over tasks of accuracy by one score, or None where a task was not scored so."""
    return average([measure_correctness(store, run, task, score) for task in tasks])


def average(members: Sequence[Measure | None]) -> Measure | None:
    """The plain mean of measures, or None when one of them is missing."""
    found = [member for member in members if member is not None]
    if not found or len(found) < len(members):
        return None
    return combine(found, _mean, f"mean of accuracy over {len(found)} tasks")


def _mean(columns: Sequence[Array]) -> Array:
    means: Array = np.mean(columns, axis=0)
    return means


def transform(measure: Measure | None, formula: Callable[[Array], Array], aggregation: str) -> Measure | None:
    """A function of one measure, seed by seed and replicate by replicate."""
    if measure is None:
        return None
    return combine([measure], lambda columns: formula(columns[0]), aggregation)

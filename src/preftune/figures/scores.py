"""Accuracy per task of the base, SFT and aligned models, the last by log-likelihood and by reward."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from preftune.errors import PreftuneError
from preftune.figures.settings import System, TaskScoreSettings
from preftune.figures.style import NOT_RUN, Stamp, add_legend, mark, new_figure
from preftune.stats.bootstrap import bootstrap_means
from preftune.stats.intervals import cell_interval
from preftune.tables.scores import REMEDY, ScoreStore, stack

# The suites of the paper's tables, in their order; other scored tasks only check the training mixes.
SUITES = ("glue", "gpt4all", "race")


@dataclass(frozen=True)
class Accuracy:
    """Accuracy of one system on one task, as a fraction: mean over seeds, 95 % interval."""

    value: float
    low: float
    high: float
    items: int


def read_accuracy(store: ScoreStore, system: System, task: str) -> Accuracy | None:
    """Accuracy of a system on a task, or None where the run has no such score."""
    seeds = [seed for seed in store.seeds(system.run, task) if _has_score(store, system, seed, task)]
    found = [
        choices
        for seed in seeds
        if (choices := store.choices(system.run, seed, task, system.score)) is not None
    ]
    if not found:
        return None
    correct = stack([choices.correct for choices in found])  # [seeds, items]
    interval, _ = cell_interval([float(row.mean()) for row in correct], bootstrap_means(correct, task))
    low, high = interval or (float(correct.mean()),) * 2
    return Accuracy(float(correct.mean()), low, high, correct.shape[1])


def _has_score(store: ScoreStore, system: System, seed: int, task: str) -> bool:
    metrics = store.read(system.run, seed, task).get("metrics")
    if not isinstance(metrics, dict):
        raise PreftuneError(f"{store.path(system.run, seed, task)} has no `metrics`: {REMEDY}.")
    return bool(metrics.get(system.score))


def chance_level(store: ScoreStore, run: str, task: str) -> float:
    """Accuracy of a uniform guess: mean over questions of one over the number of candidates."""
    frame = store.table(run, store.seeds(run, task)[0], task, ("document",))
    if frame is None:
        raise PreftuneError(
            f"{store.path(run, store.seeds(run, task)[0], task)} has no items beside it: {REMEDY}."
        )
    return float((1 / frame.groupby("document").size()).mean())


def order_tasks(store: ScoreStore, systems: Sequence[System]) -> dict[str, str]:
    """Task -> suite of every task that a system has scored, grouped by suite."""
    suites: dict[str, str] = {}
    for system in systems:
        suites |= store.suites(system.run)
    known = {task: suite for task, suite in suites.items() if suite in SUITES}
    ranked = sorted(known, key=lambda task: SUITES.index(known[task]))
    return {task: suites[task] for task in ranked}


def draw_chance(axes: Axes, chances: dict[str, float]) -> None:
    """Mark the accuracy of a uniform guess in every task's row."""
    for row, chance in enumerate(chances.values()):
        label = "chance" if row == 0 else None
        axes.plot(
            [chance, chance],
            [row - 0.42, row + 0.42],
            color="#777777",
            linewidth=1.4,
            linestyle=(0, (2, 1)),
            label=label,
        )


def draw_system(axes: Axes, found: dict[str, Accuracy | None], index: int, count: int, label: str) -> None:
    """Draw one system's accuracies and intervals, a little above or below the middle of each row."""
    look = mark(index)
    shift = (index - (count - 1) / 2) * 0.76 / count
    rows = [row for row, value in enumerate(found.values()) if value is not None]
    values = [value for value in found.values() if value is not None]
    if not values:
        axes.plot([], [], look.marker, color=look.colour, label=f"{label}: {NOT_RUN}")
        return
    middle = np.array([value.value for value in values])
    spread = [
        np.maximum(0, middle - [v.low for v in values]),
        np.maximum(0, np.array([v.high for v in values]) - middle),
    ]
    axes.errorbar(
        middle, np.array(rows) + shift, xerr=spread, fmt=look.marker, markersize=5.5, capsize=2,
        elinewidth=0.9, color=look.colour, markerfacecolor="white" if index % 2 else look.colour, label=label,
    )  # fmt: skip


def label_rows(axes: Axes, suites: dict[str, str], items: dict[str, int]) -> None:
    """Name the tasks with their number of items, and separate the suites by lines."""
    tasks = list(suites)
    axes.set_yticks(range(len(tasks)), [f"{task} (n {items[task]})" for task in tasks])
    axes.set(ylim=(len(tasks) - 0.4, -0.6), xlim=(-0.02, 1.02), xlabel="accuracy (fraction of items)")
    for row in range(1, len(tasks)):
        border = suites[tasks[row]] != suites[tasks[row - 1]]
        axes.axhline(row - 0.5, color="#444444" if border else "#e2e2e2", linewidth=1.0 if border else 0.6)
    starts = [row for row in range(len(tasks)) if row == 0 or suites[tasks[row]] != suites[tasks[row - 1]]]
    for row in starts:
        axes.annotate(suites[tasks[row]], (1.01, row - 0.4), xycoords=("axes fraction", "data"), va="top",
                      weight="bold", rotation=-90, size=8.5)  # fmt: skip
    axes.grid(False, axis="y")


def draw_task_scores(folders: Sequence[Path], settings: TaskScoreSettings) -> Figure:
    """Accuracy per task of every system, with 95 % intervals and the chance level.

    Args:
        folders: score folders `.../<run>/seed-<n>/` with `<task>.json` and `<task>.parquet`.
        settings: the systems in the order of the legend, scale and data.
    """
    store = ScoreStore(folders, settings.runs or None)
    suites = order_tasks(store, settings.systems)
    if not suites:
        raise PreftuneError(
            "None of the score folders holds a task of one of the systems: evaluate a run, then plot again."
        )
    found = {
        system: {task: read_accuracy(store, system, task) for task in suites} for system in settings.systems
    }
    runs = {task: next(s.run for s in settings.systems if store.seeds(s.run, task)) for task in suites}
    chances = {task: chance_level(store, run, task) for task, run in runs.items()}
    counted = [(task, value.items) for one in found.values() for task, value in one.items() if value]
    items = dict.fromkeys(suites, 0) | dict(counted)
    aid = [
        "Higher is better; bars are 95 % intervals over items (over seeds from three seeds on); a mark "
        "without a bar has every item right or wrong, where resampling shows no spread. Accuracy is shown "
        "for all tasks, also for those whose table cell is a correlation."
    ]
    stamp = Stamp(settings.data, settings.scale)
    size = (8.0, 1.1 + 0.105 * len(settings.systems) * len(suites))
    lines = -(-(len(settings.systems) + 1) // 3)
    figure, grid = new_figure("Accuracy per task", stamp, size, aid=aid, legend_rows=lines)
    axes = grid[0, 0]
    draw_chance(axes, chances)
    for index, system in enumerate(settings.systems):
        draw_system(axes, found[system], index, len(settings.systems), system.label)
    label_rows(axes, suites, items)
    add_legend(figure, axes.get_legend_handles_labels()[0], columns=3)
    return figure

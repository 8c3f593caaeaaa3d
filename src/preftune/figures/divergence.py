"""How well held-out pairs are ranked against how far the language model went from SFT to get there."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from preftune.figures.settings import DriftFigureSettings, System
from preftune.figures.style import NOT_RUN, Stamp, add_legend, mark, new_figure, say_not_run
from preftune.tables.averages import mean_accuracy, suite_tasks
from preftune.tables.drift import measure_drift
from preftune.tables.scores import ScoreStore


@dataclass(frozen=True)
class Point:
    """One seed of a system: KL(SFT || run) in nats a token, and accuracy on held-out pairs as a fraction."""

    seed: int
    divergence: float
    accuracy: float


def read_points(scores: ScoreStore, drift: ScoreStore, system: System) -> list[Point]:
    """The seeds of a system for which both were measured."""
    tasks = suite_tasks(scores, system.run, ("preference",))
    ranked = mean_accuracy(scores, system.run, tasks, system.score)
    moved = measure_drift(drift, system.run, "kl_per_token")
    if ranked is None or moved is None:
        return []
    shared = sorted(set(ranked.per_seed) & set(moved.per_seed))
    return [Point(seed, moved.per_seed[seed], ranked.per_seed[seed]) for seed in shared]


def scale_divergence(axes: Axes, points: Sequence[Point]) -> None:
    """Decades of divergence, linear around 0, where a frozen language model is."""
    positive = [point.divergence for point in points if point.divergence > 0]
    if positive:
        threshold = 10.0 ** math.floor(math.log10(min(positive)))
        axes.set_xscale("symlog", linthresh=threshold, linscale=0.6)
        axes.set_xlim(-0.25 * threshold, 2.5 * max(positive))


def draw_accuracy_against_kl(
    scores: Sequence[Path], drift: Sequence[Path], settings: DriftFigureSettings
) -> Figure:
    """One point a system and seed: accuracy on held-out pairs against KL(SFT || run).

    Args:
        scores: score folders `.../<run>/seed-<n>/` with the tasks of the suite `preference`.
        drift: drift folders `.../<run>/seed-<n>/` with `drift.json`.
        settings: the systems in the order of the legend, scale and data.
    """
    runs = settings.runs or None
    stores = ScoreStore(scores, runs), ScoreStore(drift, runs)
    found = [read_points(*stores, system) for system in settings.systems]
    aid = [
        "Up is better ranking, left is a language model closer to SFT: a head on a frozen model stands at 0. One mark "
        "a seed; each system by the score that its training shapes. Decades, linear around 0."
    ]
    lines = -(-len(settings.systems) // 2)
    stamp = Stamp(settings.data, settings.scale)
    title = "Held-out accuracy against divergence from SFT"
    figure, grid = new_figure(title, stamp, (8.6, 4.2), aid=aid, legend_rows=lines)
    axes = grid[0, 0]
    handles = []
    for index, (system, points) in enumerate(zip(settings.systems, found, strict=True)):
        look = mark(index)
        style: dict[str, Any] = {
            "color": look.colour,
            "markersize": 7,
            "markerfacecolor": "white" if index % 2 else look.colour,
        }
        axes.plot([p.divergence for p in points], [100 * p.accuracy for p in points], look.marker, **style)
        label = system.label if points else f"{system.label}: {NOT_RUN}"
        handles.append(Line2D([], [], linestyle="", marker=look.marker, label=label, **style))
    add_legend(figure, handles, 2)
    every = [point for points in found for point in points]
    if not every:
        say_not_run(axes)
        return figure
    scale_divergence(axes, every)
    axes.axhline(50, color="#777777", linewidth=0.9, linestyle=(0, (2, 2)))
    axes.annotate(
        "chance", (0.995, 50), xycoords=("axes fraction", "data"), ha="right", va="bottom", size=7.5
    )
    axes.set(xlabel="KL(SFT || run), nats a token", ylabel="accuracy on held-out pairs (%)")
    return figure

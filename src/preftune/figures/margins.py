"""Where the gradients of the DPH losses vanish, and the margins that trained heads give to held-out pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from preftune.figures.losses import optimal_margin
from preftune.figures.settings import MarginFigureSettings
from preftune.figures.style import Mark, Stamp, add_legend, mark, new_figure
from preftune.stats.bootstrap import Array
from preftune.tables.pairs import read_pair_rewards
from preftune.tables.scores import ScoreStore

LOSSES = ("contrastive", "separable")
BINS = 48
TALLEST = 0.66  # of a row's height; its text stands above
LEAST, GREATEST = -5.0, 7.0  # margins that are always shown


@dataclass(frozen=True)
class HeldOutMargins:
    """Margins r_w - r_l [pairs] that a run gives to its held-out pairs, of all its seeds together."""

    run: str
    label_smoothing: float
    margins: Array

    @property
    def accuracy(self) -> float:
        """Share of the pairs whose preferred answer has the higher reward."""
        return float((self.margins > 0).mean())


def gradient_size(loss: str, margins: Array, epsilon: float) -> Array:
    """|dL/dr_w| at pairs with r_w = -r_l and the given margins: |sigmoid(x) - (1 - eps)|.

    x is the margin (contrastive, where the gradient depends on nothing else) or r_w, half of it (separable).
    """
    logits = margins / 2 if loss == "separable" else margins
    return np.abs(1 / (1 + np.exp(-logits)) - (1 - epsilon))


def select_runs(settings: MarginFigureSettings, loss: str) -> list[str]:
    """Runs trained with the loss on unflipped pairs, by epsilon: one with a trained and one with a frozen model each.

    Of several runs of one kind the first one stands for all.
    """
    chosen: dict[tuple[float, bool], str] = {}
    for run in settings.runs:
        facts = settings.settings.get(run)
        if facts and facts.dph == loss and facts.pooler == settings.pooler and facts.flipped == 0:
            chosen.setdefault((facts.label_smoothing, facts.freeze == "model"), run)
    return [chosen[key] for key in sorted(chosen)]


def read_margins(store: ScoreStore, run: str, epsilon: float) -> HeldOutMargins | None:
    """Margins of one run, or None where no held-out pair has its reward."""
    seeds = read_pair_rewards(store, run).values()
    if not seeds:
        return None
    return HeldOutMargins(
        run, epsilon, np.concatenate([pairs.preferred - pairs.dispreferred for pairs in seeds])
    )


def draw_gradients(axes: Axes, loss: str, looks: dict[float, Mark], limits: tuple[float, float]) -> None:
    """One line an epsilon; a marker where it touches zero, at the cap."""
    margins = np.linspace(*limits, 601)
    for epsilon, look in looks.items():
        size = gradient_size(loss, margins, epsilon)
        axes.plot(margins, size, color=look.colour, linestyle=look.line, linewidth=1.6)
        cap = optimal_margin(loss, epsilon)
        axes.plot(cap, 0, look.marker, color=look.colour, markersize=7, clip_on=False, zorder=3)
    where = "" if loss == "contrastive" else ", at $r_w = -r_l$"
    axes.set(title=f"{loss} loss{where}", ylim=(0, 1.02), xlim=limits)


def draw_histogram(
    axes: Axes, row: int, found: HeldOutMargins, look: Mark, limits: tuple[float, float]
) -> None:
    """One run's margins as a histogram that stands on its row, those outside the limits in the outermost bins."""
    edges = np.linspace(*limits, BINS + 1)
    counts, _ = np.histogram(np.clip(found.margins, *limits), edges)
    heights = row - TALLEST * counts / counts.max()
    axes.stairs(heights, edges, baseline=row, fill=True, color=look.colour, alpha=0.35)
    axes.stairs(heights, edges, baseline=row, color=look.colour, linewidth=0.7)
    axes.plot([found.margins.mean()] * 2, [row, row - TALLEST], color="black", linewidth=1.8)


def draw_run(
    axes: Axes,
    row: int,
    loss: str,
    found: HeldOutMargins,
    label: str,
    look: Mark,
    limits: tuple[float, float],
) -> None:
    """One run in its row: histogram and mean, the cap of its epsilon, and both in words."""
    draw_histogram(axes, row, found, look, limits)
    cap = optimal_margin(loss, found.label_smoothing)
    capped = np.isfinite(cap)
    if capped:
        axes.plot([cap, cap], [row, row - TALLEST], color=look.colour, linestyle=look.line, linewidth=1.4)
        axes.plot(cap, row, look.marker, color=look.colour, markersize=7, zorder=3)
    level = row - TALLEST - 0.04
    style: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "va": "bottom", "size": 7.5}
    style["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
    smoothing = f"ε = {found.label_smoothing:g}" + ("" if capped else ", no cap")
    axes.annotate(f"{label} ({smoothing})", (0.005, level), **style)
    note = f"mean {found.margins.mean():.2f}, {100 * found.accuracy:.0f} % right"
    axes.annotate(note, (0.995, level), ha="right", **style)


def finish_runs(axes: Axes, count: int) -> None:
    """Axes of `count` rows, the first one on top; where there is none, say so."""
    if not count:
        # Not `say_not_run`, which would take the shared ticks from the panel above.
        place: dict[str, Any] = {"transform": axes.transAxes, "ha": "center", "va": "center"}
        axes.text(0.5, 0.5, "no run with this loss at this scale", style="italic", **place)
    axes.axvline(0, color="#555555", linewidth=0.9, zorder=0.9)
    axes.set(
        ylim=(max(count, 1) - 0.85, -1.0), yticks=[], xlabel="margin $r_w - r_l$ of held-out pairs (logits)"
    )
    axes.grid(False, axis="y")


def margin_limits(
    loss: str, rows: Sequence[HeldOutMargins], epsilons: Sequence[float]
) -> tuple[float, float]:
    """Margins that a column shows: every cap, and all but the outermost of the measured ones."""
    caps = [cap for epsilon in epsilons if np.isfinite(cap := optimal_margin(loss, epsilon))]
    measured = [bound for found in rows for bound in np.percentile(found.margins, [1, 99])]
    return min([LEAST, *measured]), max([GREATEST, *(1.15 * cap for cap in caps), *measured])


def draw_margins(folders: Sequence[Path], settings: MarginFigureSettings) -> Figure:
    """Above the size of the gradient by r_w against the margin, below the measured margins of runs; a column a loss.

    Args:
        folders: score folders `.../<run>/seed-<n>/` with the tasks of the suite `preference`.
        settings: the label smoothings, the settings of the runs, their labels, scale and data.
    """
    store = ScoreStore(folders, settings.runs)
    found = {}
    for loss in LOSSES:
        rows = [
            read_margins(store, run, settings.settings[run].label_smoothing)
            for run in select_runs(settings, loss)
        ]
        found[loss] = [row for row in rows if row is not None]
    measured = {row.label_smoothing for rows in found.values() for row in rows}
    looks = {epsilon: mark(i) for i, epsilon in enumerate(sorted(measured | set(settings.epsilons)))}
    height = 0.62 * max(1, *map(len, found.values())) + 0.3
    aid = [
        "Above: how strongly a pair pulls at the reward of its preferred answer. The marker is the cap set by ε: there the "
        "pull is zero, and beyond it, it points back. Below: histograms of what trained heads do on pairs that they have "
        "not seen, black lines: means, coloured lines: caps. Left of zero the head is wrong. All seeds of a run "
        "together; margins beyond the axis are in its outermost bins."
    ]
    figure, grid = new_figure(
        "The cap that label smoothing sets to the margin, and measured margins", Stamp(settings.data, settings.scale),
        (9.6, 2.1 + height), 2, 2, aid=aid, legend_rows=1, sharex="col", height_ratios=[2.1, height],
    )  # fmt: skip
    for column, loss in enumerate(LOSSES):
        limits = margin_limits(loss, found[loss], list(looks))
        draw_gradients(grid[0, column], loss, looks, limits)
        for row, one in enumerate(found[loss]):
            draw_run(
                grid[1, column], row, loss, one, settings.label(one.run), looks[one.label_smoothing], limits
            )
        finish_runs(grid[1, column], len(found[loss]))
    grid[0, 0].set_ylabel("$|\\partial L / \\partial r_w|$")
    handles = [
        Line2D([], [], color=look.colour, linestyle=look.line, marker=look.marker, label=f"ε = {epsilon:g}")
        for epsilon, look in looks.items()
    ]
    add_legend(figure, handles, len(handles))
    return figure

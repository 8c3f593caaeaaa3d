"""The share of right answers among those that are chosen from n samples, by what chooses."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from preftune.figures.style import Stamp, add_legend, mark, new_figure, say_not_run
from preftune.settings.report import FigureSettings
from preftune.stats.intervals import cell_interval
from preftune.tables.best_of import FILE, counts_of, measure_choices
from preftune.tables.measures import Measure
from preftune.tables.scores import ScoreStore

CURVES = {
    "reward": "highest reward",
    "log": "highest log-probability a token",
    "implicit": "highest implicit reward",
    "oracle": "any right (oracle)",
}
LEVELS = {"random": ("chance", (0, (1, 1.5))), "greedy": ("greedy answer", (0, (6, 2)))}


def draw_best_of(folders: Sequence[Path], settings: FigureSettings) -> Figure:
    """A panel a run, a curve a chooser over the number of samples; levels for chance and the greedy answer.

    Args:
        folders: folders `.../<run>/seed-<n>/` with `best_of.json` and `best_of.parquet`.
        settings: the runs in the order of the panels, scale and data.
    """
    store = ScoreStore(folders, settings.runs or None)
    runs = [run for run in settings.runs or sorted(store.runs()) if store.seeds(run, FILE)]
    aid = [
        "A curve above the level of chance chooses better than blindly; none can pass the oracle. Right means equal to the gold "
        "answer, which no score was shown. Expectations over all ways to draw n of the samples; band: 95 % interval of the "
        "reward's choice, over seeds from three seeds on, else over questions."
    ]
    title, stamp = (
        "Best of n: right answers by what chooses among the samples",
        Stamp(settings.data, settings.scale),
    )
    count = max(1, len(runs))
    size = (max(6.0, 4.3 * count), 3.4)
    figure, grid = new_figure(title, stamp, size, 1, count, aid=aid, legend_rows=2, sharey=True)
    if not runs:
        say_not_run(grid[0, 0])
        return figure
    handles: dict[str, Any] = {}
    for axes, run in zip(grid.flat, runs, strict=True):
        draw_run(axes, measure_choices(store, run))
        axes.set(title=run, xlabel="samples n")
        handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    grid[0, 0].set_ylabel("right answers (%)")
    order = [*CURVES.values(), *(label for label, _ in LEVELS.values())]
    add_legend(figure, [handles[label] for label in order if label in handles], 3)
    return figure


def draw_run(axes: Axes, found: dict[str, Measure]) -> None:
    """The curves and levels of one run."""
    counts = counts_of(found)
    for index, (score, label) in enumerate(CURVES.items()):
        measured = [found[f"{score}@{count}"] for count in counts if f"{score}@{count}" in found]
        if measured:
            look = mark(index)
            axes.plot(
                counts, [100 * one.value for one in measured], color=look.colour, linestyle=look.line, marker=look.marker,
                markersize=5, linewidth=1.6, markerfacecolor="white" if index % 2 else look.colour, label=label,
            )  # fmt: skip
        if score == "reward":
            intervals = [cell_interval(list(one.per_seed.values()), one.replicates)[0] for one in measured]
            bounds = [found or (one.value, one.value) for found, one in zip(intervals, measured, strict=True)]
            lows, highs = ([100 * bound for bound in side] for side in zip(*bounds, strict=True))
            axes.fill_between(counts, lows, highs, color=mark(index).colour, alpha=0.15, linewidth=0)
    for name, (label, line) in LEVELS.items():
        axes.axhline(100 * found[name].value, color="#777777", linewidth=1.1, linestyle=line, label=label)
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(count) for count in counts])

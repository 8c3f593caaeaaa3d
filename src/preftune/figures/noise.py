"""Accuracy of rewards on held-out pairs when a share of the training pairs has its answers exchanged."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from preftune.figures.settings import NoiseFigureSettings
from preftune.figures.style import NOT_RUN, Stamp, add_legend, mark, new_figure, say_not_run
from preftune.stats.intervals import cell_interval
from preftune.tables.averages import mean_accuracy, suite_tasks
from preftune.tables.measures import Measure
from preftune.tables.scores import ScoreStore
from preftune.tables.settings import frozen_runs

LOSSES = ("separable", "contrastive")
Curve = dict[float, str]


def noise_curves(settings: NoiseFigureSettings) -> dict[tuple[str, float], Curve]:
    """Runs by flipped share, for each loss and epsilon that has a flipped run; the first run of equal settings."""
    frozen = frozen_runs(settings.runs, settings.settings)
    wanted = {facts.head for facts in frozen.values() if facts.flipped > 0}
    curves: dict[tuple[str, float], Curve] = {}
    for run, facts in frozen.items():
        if facts.head in wanted:
            curves.setdefault((facts.dph, facts.label_smoothing), {}).setdefault(facts.flipped, run)
    return {key: dict(sorted(curves[key].items())) for key in sorted(curves)}


def measure_curve(store: ScoreStore, curve: Curve) -> dict[float, Measure]:
    """Accuracy by the reward on held-out pairs at each flipped share that was run."""
    found = {
        share: mean_accuracy(store, run, suite_tasks(store, run, ("preference",)), "reward")
        for share, run in curve.items()
    }
    return {share: measured for share, measured in found.items() if measured is not None}


def draw_curve(axes: Axes, measured: dict[float, Measure], index: int, label: str) -> None:
    """One epsilon's accuracies, in percent, with a band of their 95 % intervals."""
    look = mark(index)
    shares, values = [100 * share for share in measured], [100 * one.value for one in measured.values()]
    intervals = [cell_interval(list(one.per_seed.values()), one.replicates)[0] for one in measured.values()]
    bounds = [(value, value) if found is None else (100 * found[0], 100 * found[1])
              for value, found in zip(values, intervals, strict=True)]  # fmt: skip
    lows, highs = zip(*bounds, strict=True)
    axes.fill_between(shares, lows, highs, color=look.colour, alpha=0.13, linewidth=0)
    for edge in (lows, highs):
        axes.plot(shares, edge, color=look.colour, linestyle=look.line, linewidth=0.5)
    axes.plot(
        shares, values, color=look.colour, linestyle=look.line, marker=look.marker, markersize=5.5, linewidth=1.8,
        markerfacecolor="white" if index % 2 else look.colour, label=label,
    )  # fmt: skip


def draw_label_noise(folders: Sequence[Path], settings: NoiseFigureSettings) -> Figure:
    """Accuracy on held-out pairs against the flipped share of the training pairs, a panel a loss, a line an epsilon.

    Args:
        folders: score folders `.../<run>/seed-<n>/` with the tasks of the suite `preference`.
        settings: settings of the alignment runs, scale and data.
    """
    store = ScoreStore(folders, settings.runs or None)
    curves = {key: measure_curve(store, curve) for key, curve in noise_curves(settings).items()}
    epsilons = sorted({epsilon for _, epsilon in curves})
    aid = [
        "Label smoothing ε says that a share ε of the labels is flipped; a line that falls later than the others is "
        "what it should give. Heads on the frozen SFT model; bands: 95 % intervals, over seeds from three seeds on, "
        "else over items."
    ]
    stamp = Stamp(settings.data, settings.scale)
    title = "Held-out accuracy against label noise"
    figure, grid = new_figure(
        title, stamp, (8.6, 3.6), 1, 2, aid=aid, legend_rows=1, sharex=True, sharey=True
    )
    if not any(curves.values()):
        for axes in grid.flat:
            say_not_run(axes)
        return figure
    handles: dict[str, Any] = {}
    for axes, loss in zip(grid.flat, LOSSES, strict=True):
        found = {
            epsilon: measured for (name, epsilon), measured in curves.items() if name == loss and measured
        }
        for epsilon, measured in found.items():
            draw_curve(axes, measured, epsilons.index(epsilon), f"ε = {epsilon:g}")
        finish_panel(axes, loss, bool(found))
        handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    grid[0, 0].set_ylabel("accuracy on held-out pairs (%)")
    add_legend(figure, [handles[label] for label in sorted(handles)], 5)
    return figure


def finish_panel(axes: Axes, loss: str, drawn: bool) -> None:
    """Title, axis and chance level of a panel, or that nothing of it was run, beside a panel that was."""
    axes.set_title(f"{loss} loss")
    if not drawn:
        axes.annotate(NOT_RUN, (0.5, 0.5), xycoords="axes fraction", ha="center", va="center", style="italic")
        return
    axes.axhline(50, color="#777777", linewidth=0.9, linestyle=(0, (2, 2)))
    axes.annotate(
        "chance", (0.995, 50), xycoords=("axes fraction", "data"), ha="right", va="bottom", size=7.5
    )
    axes.set_xlabel("flipped training pairs (%)")

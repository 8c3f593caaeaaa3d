"""What alignment costs the language model, beside the SFT model: divergence, perplexity, accuracy, generations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from preftune.figures.settings import CostFigureSettings
from preftune.figures.style import NOT_RUN, Stamp, mark, new_figure
from preftune.stats.intervals import cell_interval
from preftune.tables.averages import mean_accuracy
from preftune.tables.costs import tasks_outside
from preftune.tables.drift import measure_drift
from preftune.tables.measures import Measure
from preftune.tables.scores import ScoreStore

SFT = "sft"


@dataclass(frozen=True)
class Panel:
    """One quantity: how a run's measure is read, its axis, and where the SFT model stands.

    `sft` is what the SFT model is: at `zero` (of a divergence from it), the `origin` that a change is counted from, or at
    its own `value`.
    """

    title: str
    axis: str
    read: Callable[[str], Measure | None]
    sft: Literal["zero", "origin", "value"]
    factor: float = 1.0


@dataclass(frozen=True)
class Dot:
    """Mean over seeds, its 95 % interval (None with nothing to resample), and the value of every seed."""

    value: float
    interval: tuple[float, float] | None
    seeds: tuple[float, ...]


def list_panels(store: ScoreStore, drift: ScoreStore, mix: tuple[str, ...]) -> list[Panel]:
    """The five quantities of the figure."""

    def outside(run: str) -> Measure | None:
        tasks = tasks_outside(store, run, mix)
        return mean_accuracy(store, run, tasks, "log") if tasks else None

    def drifted(name: str) -> Callable[[str], Measure | None]:
        return lambda run: measure_drift(drift, run, name)

    return [
        Panel("KL from SFT", "nats a token", drifted("kl_per_token"), "zero"),
        Panel("perplexity of plain text", "change", drifted("text_perplexity"), "origin"),
        Panel("accuracy outside the mix", "change (points)", outside, "origin", 100),
        Panel("length of answers", "tokens", drifted("length_mean"), "value"),
        Panel("repeated 4-grams", "share (%)", drifted("repetition"), "value", 100),
    ]


def subtract(measured: Measure, reference: Measure) -> Measure:
    """Change from a reference, seed by seed (the reference's first seed where it lacks one), paired over items."""
    first = next(iter(reference.per_seed.values()))
    per_seed = {
        seed: value - reference.per_seed.get(seed, first) for seed, value in measured.per_seed.items()
    }
    pair = measured.replicates, reference.replicates
    replicates = None if pair[0] is None or pair[1] is None else pair[0] - pair[1]
    files = (*measured.files, *reference.files)
    return Measure(per_seed, replicates, measured.n_items, measured.split, files, "change from SFT")


def read_dot(panel: Panel, run: str) -> Dot | None:
    """One run's place in a panel, or None where it was not measured."""
    measured = panel.read(run)
    if panel.sft == "origin" and measured is not None:
        reference = panel.read(SFT)
        measured = None if reference is None else subtract(measured, reference)
    if measured is None:
        return None
    seeds = tuple(panel.factor * value for value in measured.per_seed.values())
    found, _ = cell_interval(list(measured.per_seed.values()), measured.replicates)
    interval = None if found is None else (panel.factor * found[0], panel.factor * found[1])
    return Dot(panel.factor * measured.value, interval, seeds)


def draw_dots(axes: Axes, dots: Sequence[Dot | None]) -> None:
    """One dot a row with its interval, and a small hollow mark for every seed below it."""
    for row, dot in enumerate(dots):
        if dot is None:
            continue
        look = mark(row)
        low, high = dot.interval or (dot.value, dot.value)
        spread = [[max(0.0, dot.value - low)], [max(0.0, high - dot.value)]]
        axes.errorbar([dot.value], [row], xerr=spread, fmt=look.marker, color=look.colour, capsize=2.5,
                      markersize=7, elinewidth=1.1)  # fmt: skip
        if len(dot.seeds) > 1:
            places = [row + 0.27] * len(dot.seeds)
            axes.plot(
                dot.seeds, places, look.marker, color=look.colour, markerfacecolor="white", markersize=3.5
            )


def draw_reference(axes: Axes, panel: Panel) -> None:
    """The SFT model as a dashed line."""
    level = 0.0
    if panel.sft == "value":
        reference = panel.read(SFT)
        if reference is None:
            return
        level = panel.factor * reference.value
    axes.axvline(level, color="#555555", linewidth=1.0, linestyle=(0, (4, 2)))
    axes.annotate("SFT", (level, 0.995), xycoords=("data", "axes fraction"), ha="left", va="top", size=7.5,
                  xytext=(2, 0), textcoords="offset points", color="#444444")  # fmt: skip


def draw_alignment_cost(
    scores: Sequence[Path], drift: Sequence[Path], settings: CostFigureSettings
) -> Figure:
    """Dots of every system in five panels: divergence, perplexity, accuracy outside the mix, length, repetition.

    Args:
        scores: score folders `.../<run>/seed-<n>/`.
        drift: drift folders `.../<run>/seed-<n>/` with `drift.json` and `drift.parquet`.
        settings: the systems in the order of the rows, the tasks of the preference mix, scale and data.
    """
    runs = settings.runs or None
    panels = list_panels(ScoreStore(scores, runs), ScoreStore(drift, runs), settings.mix_tasks)
    found = [[read_dot(panel, run) for run in settings.shown] for panel in panels]
    aid = [
        "The dashed line is the SFT model: a system on it costs nothing. Bars: 95 % intervals, over seeds from three "
        "seeds on, else over items; hollow marks: single seeds. Accuracy is that of the log-probability score on "
        "tasks of which the preference mix has no pair."
    ]
    stamp, size = Stamp(settings.data, settings.scale), (12.5, 0.95 + 0.5 * len(settings.shown))
    figure, grid = new_figure(
        "What alignment costs the language model", stamp, size, 1, len(panels), aid=aid, sharey=True, gap=0.06
    )
    absent = [all(column[row] is None for column in found) for row in range(len(settings.shown))]
    names = [
        settings.label(run) + f"\n({NOT_RUN})" * gone
        for run, gone in zip(settings.shown, absent, strict=True)
    ]
    grid[0, 0].set_yticks(range(len(names)), names)
    grid[0, 0].set_ylim(len(names) - 0.4, -0.75)
    for axes, panel, dots in zip(grid[0], panels, found, strict=True):
        axes.set(title=panel.title, xlabel=panel.axis)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.margins(x=0.12)
        if all(dot is None for dot in dots):
            axes.annotate(
                NOT_RUN, (0.5, 0.5), xycoords="axes fraction", ha="center", va="center", style="italic"
            )
            continue
        draw_dots(axes, dots)
        draw_reference(axes, panel)
    return figure

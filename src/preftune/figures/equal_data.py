"""Perplexity and CIDEr against the number of training images, each method at the learning rate that validation picks."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from preftune.figures.settings import EqualDataFigureSettings
from preftune.figures.style import Stamp, add_legend, mark, new_figure, say_not_run
from preftune.tables.assemble import measured_interval
from preftune.tables.equal_data import (
    CIDER,
    IMAGES,
    PERPLEXITY,
    REFERENCE,
    find_crossings,
    measure_point,
    pick_points,
)
from preftune.tables.measures import Measure
from preftune.tables.records import Records
from preftune.tables.scores import ScoreStore

# Column of the table -> label of the panel's axis, and the factor to its unit.
PANELS = {PERPLEXITY: ("test perplexity per token", 1.0), CIDER: ("CIDEr × 100", 100.0)}
Bounds = tuple[float, float, float]
Curves = dict[str, dict[float, Bounds]]


@dataclass(frozen=True)
class Drawn:
    """What a panel shows: method -> images -> (value, low, high)."""

    curves: Curves
    seeds: int


def read_curves(store: ScoreStore, records: Records, settings: EqualDataFigureSettings) -> dict[str, Drawn]:
    """The curves of every panel, as the table of equal data gives them."""
    curves: dict[str, Curves] = {column: {} for column in PANELS}
    seeds = dict.fromkeys(PANELS, 0)
    for point in pick_points(store, settings.captioners):
        found = {
            column: measured
            for column, _, measured in measure_point(store, records, settings.captioners, point)
        }
        images = found[IMAGES]
        for column, (_, factor) in PANELS.items():
            measured = found[column]
            if images is not None and measured is not None:
                curves[column].setdefault(point.method, {})[images.value] = _bounds(measured, factor)
                seeds[column] = max(seeds[column], len(measured.per_seed))
    # A method of one number of images alone, whose grid is over learning rates, has no curve.
    drawn = {
        column: {method: curve for method, curve in own.items() if len(curve) > 1}
        for column, own in curves.items()
    }
    return {column: Drawn(drawn[column], seeds[column]) for column in PANELS}


def _bounds(measured: Measure, factor: float) -> Bounds:
    interval, _ = measured_interval(measured)
    low, high = interval or (measured.value, measured.value)
    return factor * measured.value, factor * low, factor * high


def draw_curve(axes: Axes, curve: Mapping[float, Bounds], index: int, label: str) -> None:
    """One method: a line with its marks and intervals; a slight shift keeps the intervals of methods apart."""
    look, images = mark(index), sorted(curve)
    values = [curve[number][0] for number in images]
    spread = [
        [max(0.0, curve[number][0] - curve[number][1]) for number in images],
        [max(0.0, curve[number][2] - curve[number][0]) for number in images],
    ]
    places = [number * 1.015 ** (index - 1) for number in images]
    axes.errorbar(
        places, values, yerr=spread, color=look.colour, linestyle=look.line, marker=look.marker, markersize=5.5,
        capsize=2.5, elinewidth=1, label=label,
    )  # fmt: skip


def mark_crossings(axes: Axes, curves: Curves) -> int:
    """A star where a curve crosses full fine-tuning's, with the number of images; how many there are."""
    plain = {method: {n: bounds[0] for n, bounds in curve.items()} for method, curve in curves.items()}
    reference = plain.pop(REFERENCE, {})
    count = 0
    for curve in plain.values():
        for images in find_crossings(curve, reference):
            value = interpolate(reference, images)
            axes.plot(images, value, "*", markersize=13, color="white", markeredgecolor="black", zorder=5)
            axes.annotate(
                f"{images:,.0f}",
                (images, value),
                xytext=(0, 10),
                textcoords="offset points",
                ha="center",
                size=8,
            )
            count += 1
    return count


def interpolate(curve: Mapping[float, float], images: float) -> float:
    """A curve's value at a number of images within its range, linear in the logarithm of the number."""
    low, high = max(n for n in curve if n <= images), min(n for n in curve if n >= images)
    if low == high:
        return curve[low]
    share = math.log(images / low) / math.log(high / low)
    return curve[low] + share * (curve[high] - curve[low])


def draw_panel(axes: Axes, drawn: Drawn, column: str, methods: Sequence[str]) -> None:
    """One panel."""
    label, _ = PANELS[column]
    if not drawn.curves:
        say_not_run(axes)
        axes.set(ylabel=label)
        return
    for method, curve in drawn.curves.items():
        draw_curve(axes, curve, methods.index(method), method)
    mark_crossings(axes, drawn.curves)
    images = sorted({number for curve in drawn.curves.values() for number in curve})
    axes.set_xscale("log")
    axes.set_xticks(images, [f"{number:,.0f}" for number in images])
    axes.set_xticks([], minor=True)
    axes.set(xlabel="training images (log scale)", ylabel=label)
    axes.margins(x=0.08, y=0.15)


def draw_equal_data(
    scores: Sequence[Path], records: Sequence[Path], settings: EqualDataFigureSettings
) -> Figure:
    """Test perplexity and CIDEr of every method at equal numbers of training images."""
    store = ScoreStore(scores, settings.runs or None)
    drawn = read_curves(store, Records.read(records), settings)
    methods = list(dict.fromkeys(method for one in drawn.values() for method in one.curves))
    seeds = max((one.seeds for one in drawn.values()), default=0)
    over = "seeds" if seeds > 2 else "images (fewer than three seeds)"
    aid = [
        f"Each method at the learning rate with the lowest validation perplexity. Bars are 95 % intervals over {over}.",
        f"A star marks where a curve crosses that of {REFERENCE}, with the number of images, interpolated in its logarithm.",
    ]
    figure, grid = new_figure(
        "Captioning against the number of training images", Stamp(settings.data, settings.scale), (10.0, 3.9),
        columns=2, aid=aid, legend_rows=1,
    )  # fmt: skip
    for axes, (column, one) in zip(grid[0], drawn.items(), strict=True):
        draw_panel(axes, one, column, methods)
    handles = grid[0][0].get_legend_handles_labels()[0] if methods else []
    if handles:
        add_legend(figure, handles, columns=min(5, len(handles)))
    return figure

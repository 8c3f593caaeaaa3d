"""Charts of the Context-PEFT paper: adapters (Figure 3), rank sweep (Figure 4), encoders (Figure 5).

The paper's numbers stand in a panel of their own: another language model, tokenizer and data set give
perplexities that must not be compared with them, only the order of the adapters can be.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from preftune.figures.perplexities import (
    CONTEXTS,
    ChartCell,
    Perplexity,
    published_sweep,
    read_chart_cells,
    read_perplexities,
    sweep_points,
)
from preftune.figures.settings import AdapterFigureSettings
from preftune.figures.style import NOT_RUN, Stamp, add_legend, mark, new_figure, say_not_run
from preftune.tables.assemble import Setting

NOT_COMPARABLE = (
    "The two panels have different language models, tokenizers and data: "
    "compare the order of the adapters, not the values."
)
INTERVALS = "bars are 95 % intervals over seeds where there are three or more, else over images."

# Series share their ranks: a slight shift keeps their intervals apart.
DODGE = (0.97, 1.03, 1.03, 0.97, 0.99, 1.01, 1.03)
EQUAL_PARAMETERS = "specific, at the agnostic rank of as many parameters (2r)"
SCALINGS = {"alpha16": "scaled by 16 / r", "rslora": "scaled by 4 / √r"}

Bounds = tuple[float, float, float]
Points = dict[str, dict[int, Bounds]]


def not_comparable(stamp: Stamp) -> list[str]:
    """The warning that values must not be compared; none at the paper's scale on real data."""
    return [NOT_COMPARABLE] if Setting(stamp.scale, stamp.data).incomparable else []


def draw_cells(
    axes: Axes,
    cells: Sequence[ChartCell],
    value_of: Callable[[ChartCell], Bounds | None],
    published: bool = False,
) -> None:
    """Draw (value, low, high) of every cell; × = no value. Ours: pale = agnostic, full = specific; published: open marks."""
    rows = list(dict.fromkeys(cell.row for cell in cells))
    groups = list(dict.fromkeys(cell.group for cell in cells))
    step = 0.8 / (2 * len(groups))
    missing = []
    for cell in cells:
        place = groups.index(cell.group) * 2 + CONTEXTS.index(cell.context) - (2 * len(groups) - 1) / 2
        x, bounds = rows.index(cell.row) + place * step, value_of(cell)
        if bounds is None:
            missing.append(x)
            continue
        draw_point(axes, x, bounds, mark_style(groups.index(cell.group), cell.context, published))
    axes.plot(
        missing,
        [0.03] * len(missing),
        "x",
        color="#888888",
        markersize=4,
        transform=axes.get_xaxis_transform(),
    )
    axes.set(
        xticks=range(len(rows)), xticklabels=rows, xlim=(-0.6, len(rows) - 0.4), ylabel="perplexity per token"
    )
    for edge in range(1, len(rows)):
        axes.axvline(edge - 0.5, color="#dddddd", linewidth=0.8)
    axes.grid(False, axis="x")
    axes.margins(y=0.15)


def mark_style(group: int, context: str, published: bool) -> dict[str, Any]:
    """How a value is marked: a form a group; ours pale or full, published ones open with a thin or a thick edge."""
    look, specific = mark(group), context == "specific"
    face: Any = look.colour if specific else to_rgba(look.colour, 0.3)
    return {
        "marker": look.marker,
        "color": look.colour,
        "markerfacecolor": "white" if published else face,
        "markeredgewidth": 2.0 if published and specific else 1.0,
        "markersize": 6,
    }


def draw_point(axes: Axes, x: float, bounds: Bounds, style: dict[str, Any]) -> None:
    """Draw one value with its interval."""
    value, low, high = bounds
    spread = [[max(0.0, value - low)], [max(0.0, high - value)]]
    axes.errorbar(x, value, yerr=spread, linestyle="", capsize=2.5, elinewidth=1, **style)


def legend_handles(cells: Sequence[ChartCell], names: dict[str, str]) -> list[Line2D]:
    """Legend of `draw_cells`: ours by group and context, published ones by context, and the cross."""
    handles = []
    for index, group in enumerate(dict.fromkeys(cell.group for cell in cells)):
        for context in CONTEXTS:
            label = f"{names.get(group, group)}, {context}"
            handles.append(Line2D([], [], linestyle="", label=label, **mark_style(index, context, False)))
    for context, edge in zip(CONTEXTS, ("thin", "thick"), strict=True):
        style = mark_style(0, context, True) | {"color": "#444444"}
        handles.append(Line2D([], [], linestyle="", label=f"the paper, {context} ({edge})", **style))
    cross = Line2D([], [], linestyle="", marker="x", color="#888888", markersize=4, label=NOT_RUN)
    return [*handles, cross]


def measured_bounds(measured: dict[str, Perplexity], cell: ChartCell) -> Bounds | None:
    """Value and interval of the run of a cell, if it was run."""
    found = measured.get(cell.run)
    return None if found is None else (found.value, found.low, found.high)


def describe_measured(measured: dict[str, Perplexity]) -> str:
    """Title of the panel of our own numbers, with split and number of images."""
    found = next(iter(measured.values()), None)
    return "this project" if found is None else f"this project ({found.split} split, {found.images} images)"


def draw_pair(
    title: str,
    table: str,
    cells: list[ChartCell],
    measured: dict[str, Perplexity],
    baseline: str | None,
    names: dict[str, str],
    stamp: Stamp,
) -> Figure:
    """Our perplexities on the left, the paper's on the right, cell by cell."""
    aid = [f"Lower is better; {INTERVALS}", *not_comparable(stamp)]
    figure, grid = new_figure(
        title, stamp, (11.0, 4.4), columns=2, aid=aid, legend_rows=2, sharey=not not_comparable(stamp)
    )
    ours, theirs = grid[0]
    draw_cells(ours, cells, lambda cell: measured_bounds(measured, cell))
    if not any(cell.run in measured for cell in cells):
        say_not_run(ours)
    if baseline in measured:
        value = measured[baseline].value
        ours.axhline(value, color="black", linewidth=1, linestyle="--")
        ours.annotate(
            "projection only (None)", (0.01, value), xycoords=("axes fraction", "data"), va="bottom", size=8
        )
    printed = [cell for cell in cells if cell.published is not None]
    draw_cells(
        theirs, printed, lambda cell: (cell.published,) * 3 if cell.published else None, published=True
    )
    ours.set_title(describe_measured(measured))
    theirs.set_title(f"the paper ({table}; one run each, no interval)")
    both = {group: f"{group} (here {name})" for group, name in names.items()}
    add_legend(figure, legend_handles(cells, both), columns=len({cell.group for cell in cells}) + 2)
    return figure


def draw_adaptors(cells: Path, scores: Sequence[Path], settings: AdapterFigureSettings) -> Figure:
    """Perplexity by adapter, placement and context beside the paper's (Context-PEFT Figure 3, Table 1)."""
    none = [cell.run for cell in read_chart_cells(cells, "encoders") if cell.row == "None"]
    return draw_pair(
        "Caption perplexity by adapter: attention (A), feed-forward (F) or both (AF)",
        "Table 1, validation split",
        read_chart_cells(cells, "adaptors"), read_perplexities(scores, settings.runs, "validation"),
        none[0] if none else None, {},
        Stamp(settings.data, settings.scale),
    )  # fmt: skip


def draw_encoders(cells: Path, scores: Sequence[Path], settings: AdapterFigureSettings) -> Figure:
    """Perplexity by adapter and vision encoder, ours beside the paper's (Context-PEFT Figure 5, Table 2)."""
    wanted = [_shorten(cell) for cell in read_chart_cells(cells, "encoders")]
    return draw_pair(
        "Caption perplexity by vision encoder, adapters on attention and feed-forward (AF)",
        "Table 2, test split",
        wanted, read_perplexities(scores, settings.runs), None, settings.encoders,
        Stamp(settings.data, settings.scale),
    )  # fmt: skip


def _shorten(cell: ChartCell) -> ChartCell:
    row = cell.row.replace(" (", "\n(").replace(" epochs", " ep.")
    return ChartCell(row, cell.group, cell.context, cell.published, cell.run)


def draw_sweep(axes: Axes, points: Points) -> None:
    """Draw perplexity against LoRA rank, one line a series."""
    for index, (label, found) in enumerate(points.items()):
        look, ranks = mark(index), list(found)
        places = [rank * DODGE[index] for rank in ranks]
        values = [found[rank][0] for rank in ranks]
        spread = [[value - found[rank][1] for rank, value in zip(ranks, values, strict=True)],
                  [found[rank][2] - value for rank, value in zip(ranks, values, strict=True)]]  # fmt: skip
        axes.errorbar(places, values, yerr=spread, color=look.colour, linestyle=look.line, marker=look.marker,
                      capsize=2.5, markerfacecolor="white" if label == EQUAL_PARAMETERS else look.colour,
                      label=label)  # fmt: skip
    ranks = sorted({rank for found in points.values() for rank in found})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ranks, [str(rank) for rank in ranks])
    axes.set(xlabel="LoRA rank (log scale)", ylabel="perplexity per token")
    if len(ranks) == 1:
        axes.set_xlim(ranks[0] / 8, ranks[0] * 8)
    axes.margins(y=0.2)


def measured_sweep(measured: dict[str, Perplexity]) -> Points:
    """Our series: both contexts, the specific one moved to the rank at which it is compared at equal parameters, scalings."""
    found = {context: _bounds(sweep_points(measured, context)) for context in CONTEXTS}
    points = {context: own for context, own in found.items() if own}
    highest = max((rank for own in points.values() for rank in own), default=0)
    moved = {2 * rank: bounds for rank, bounds in found["specific"].items() if 2 * rank <= highest}
    points |= {EQUAL_PARAMETERS: moved} if moved else {}
    for scaling, words in SCALINGS.items():
        for context in CONTEXTS:
            own = _bounds(sweep_points(measured, context, scaling))
            points |= {f"{context}, {words}": own} if own else {}
    return points


def _bounds(found: dict[int, Perplexity]) -> dict[int, Bounds]:
    return {rank: (one.value, one.low, one.high) for rank, one in found.items()}


def draw_rank_sweep(cells: Path, scores: Sequence[Path], settings: AdapterFigureSettings) -> Figure:
    """Perplexity against LoRA rank (AF), ours beside the paper's printed points (Context-PEFT Figure 4)."""
    measured = read_perplexities(scores, settings.runs)
    ours = measured_sweep(measured)
    encoders = read_chart_cells(cells, "encoders")
    small = encoders[0].group if encoders else ""
    printed = {c: {r: (v, v, v) for r, v in published_sweep(encoders, small, c).items()} for c in CONTEXTS}
    stamp = Stamp(settings.data, settings.scale)
    aid = [
        f"Lower is better; {INTERVALS} The paper says that perplexity flattens near "
        "rank 64 and rises after 256; only ranks 1, 8 and 64 of its curve are printed.",
        "Specific rank r has as many parameters as agnostic rank 2r: there the open marks stand, to be compared with the agnostic line.",
        *not_comparable(stamp),
    ]
    figure, grid = new_figure(
        "Caption perplexity against LoRA rank (AF)", stamp, (10.5, 3.8), columns=2, aid=aid,
        sharey=not not_comparable(stamp), width_ratios=(3, 2),
    )  # fmt: skip
    titles = (describe_measured(measured), f"the paper ({small}, test split)")
    for axes, points, title in zip(grid[0], (ours, printed), titles, strict=True):
        ranks = {rank for found in points.values() for rank in found}
        draw_sweep(axes, points) if ranks else say_not_run(axes)
        if len(ranks) == 1:
            axes.text(
                0.5, 0.93, f"other ranks: {NOT_RUN}", transform=axes.transAxes, ha="center", style="italic"
            )
        axes.set_title(title)
        if ranks:
            axes.legend(loc="best")
    return figure

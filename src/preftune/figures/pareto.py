"""Test perplexity against trainable parameters of every captioning run, a panel an encoder, with the Pareto front."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from preftune.errors import PreftuneError
from preftune.figures.settings import ParetoFigureSettings
from preftune.figures.style import Stamp, add_legend, mark, new_figure, say_not_run
from preftune.tables.captioners import CaptionerSettings, main_runs
from preftune.tables.scores import REMEDY, ScoreStore

FILE = "perplexity"
KINDS = {
    "none": "projection only",
    "ia3": "IA3",
    "bitfit": "BitFit",
    "lora": "LoRA",
    "moka": "MokA",
    "full": "Full FT",
}
WHOLE = ("none", "full")
"""Kinds without contexts."""
# Where a marker is filled: the contexts differ in black and white too.
FILLS: Mapping[str, Any] = {"agnostic": "none", "specific": "full", "image": "left", "text": "right"}
OWN = "bottom"
"""Groups of one's own, which have no context of the paper's."""
LEAST = 2e4
"""Trainable values from which the axis is logarithmic: 0, projection only, lies left of it."""
LINES: Mapping[str, Any] = {"agnostic": "--", "specific": "-", "image": ":", "text": "-."}


@dataclass(frozen=True)
class Point:
    """One run: trainable values of the language model and its adapters, and the test perplexity of every seed."""

    run: str
    settings: CaptionerSettings
    parameters: float
    seeds: tuple[float, ...]

    @property
    def value(self) -> float:
        """The mean over seeds."""
        return sum(self.seeds) / len(self.seeds)

    @property
    def kind(self) -> str:
        """The kind of adapter, `none` or `full`."""
        return self.settings.adapter.kind

    @property
    def context(self) -> str:
        """The paper's context or a control's; empty where there is none, `own` for groups of one's own."""
        if self.kind in WHOLE:
            return ""
        return "own" if self.settings.adapter.groups is not None else self.settings.adapter.context


def read_points(folders: Sequence[Path], settings: ParetoFigureSettings) -> list[Point]:
    """A point for every run that was scored, in the order of the runs; points of grids are left out (`main_runs`)."""
    store = ScoreStore(folders, settings.captioners)
    points = []
    for run in main_runs(settings.captioners):
        own, seeds = settings.captioners[run], store.seeds(run, FILE)
        values = [_number(store, run, seed, "perplexity") for seed in seeds]
        if values:
            points.append(
                Point(run, own, _number(store, run, seeds[0], "lm_trainable_parameters"), tuple(values))
            )
    return points


def _number(store: ScoreStore, run: str, seed: int, key: str) -> float:
    value = store.read(run, seed, FILE).get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PreftuneError(f"{store.path(run, seed, FILE)}: {key} is {value!r}, not a number: {REMEDY}.")
    return float(value)


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Points below which no other lies with as few parameters, by ascending parameters."""
    ordered = sorted(points, key=lambda point: (point.parameters, point.value))
    least = [float("inf"), *accumulate((point.value for point in ordered), min)]
    return [point for point, before in zip(ordered, least, strict=False) if point.value < before]


def draw_front(axes: Axes, points: Sequence[Point]) -> None:
    """The front as a grey staircase to the right edge: what can be had with at most so many parameters."""
    front = pareto_front(points)
    right = 2 * max(point.parameters for point in points)
    axes.step([*(point.parameters for point in front), right], [*(p.value for p in front), front[-1].value],
              where="post", color="#999999", linewidth=5, alpha=0.45, zorder=1, solid_capstyle="butt")  # fmt: skip


def draw_points(axes: Axes, points: Sequence[Point]) -> None:
    """A marker a run with the range of its seeds, small where a part of the layers is adapted; lines join LoRA's ranks."""
    series: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        if not _partial(point):
            series.setdefault((point.kind, point.context), []).append(point)
        low, high = min(point.seeds), max(point.seeds)
        spread = [[point.value - low], [high - point.value]]
        axes.errorbar([point.parameters], [point.value], yerr=spread, capsize=3, elinewidth=1.1, zorder=3,
                      **_look(point.kind, point.context, small=_partial(point)))  # fmt: skip
    for (kind, context), found in series.items():
        if kind == "lora" and len(found) > 1:
            ordered = sorted(found, key=lambda point: point.parameters)
            axes.plot([p.parameters for p in ordered], [p.value for p in ordered], linewidth=1,
                      linestyle=LINES.get(context, ":"), color=mark(list(KINDS).index(kind)).colour, zorder=2)  # fmt: skip


def _partial(point: Point) -> bool:
    return point.kind not in WHOLE and point.settings.adapter.targets != "AF"


def _look(kind: str, context: str, small: bool = False) -> dict[str, Any]:
    look = mark(list(KINDS).index(kind))
    filled = {"fillstyle": FILLS.get(context, OWN)} if context else {}
    return {"linestyle": "", "marker": look.marker, "color": look.colour, "markersize": 4.5 if small else 7, "markerfacecoloralt": "white",
            **filled}  # fmt: skip


def name_points(axes: Axes, points: Sequence[Point]) -> None:
    """LoRA's rank beside its marker (agnostic below it), and the letter of a part of the layers."""
    for point in points:
        adapter = point.settings.adapter
        below = point.context == "agnostic"
        text = (
            adapter.targets
            if _partial(point)
            else str(adapter.rank)
            if point.kind in ("lora", "moka")
            else ""
        )
        axes.annotate(text, (point.parameters, point.value), xytext=(-3 if below else 5, -10 if below else 4),
                      ha="right" if below else "left", textcoords="offset points", size=6.5 if _partial(point) else 7.5,
                      color="#333333")  # fmt: skip


def legend_handles(points: Sequence[Point]) -> list[Line2D]:
    """One entry a method and context that is drawn, and the front."""
    drawn = {(point.kind, point.context) for point in points}
    contexts = ["", *FILLS, "own"]
    ordered = sorted(drawn, key=lambda pair: (list(KINDS).index(pair[0]), contexts.index(pair[1])))
    handles = []
    for kind, context in ordered:
        look = _look(kind, context)
        if kind == "lora":
            look["linestyle"] = LINES.get(context, ":")
        name = {"image": "image group alone", "text": "text group alone", "own": "own groups"}.get(
            context, context
        )
        handles.append(Line2D([], [], label=", ".join(filter(None, (KINDS[kind], name))), **look))
    return [*handles, Line2D([], [], color="#999999", alpha=0.45, linewidth=5, label="Pareto front")]


def draw_pareto(scores: Sequence[Path], settings: ParetoFigureSettings) -> Figure:
    """Trainable parameters of the language model (log scale) against test perplexity.

    Args:
        scores: score folders `<run>/seed-<n>/` with perplexity.json.
    """
    points = read_points(scores, settings)
    encoders = list(dict.fromkeys(one.encoder for one in settings.captioners.values())) or [""]
    aid = [
        "Down and to the left is better. Bars are the range of the seeds; a number beside a mark is LoRA's rank. Small "
        "marks with a letter adapt a part of the layers, attention (A) or feed-forward (F). The connector trains in every run and "
        "is not counted.",
    ]
    handles = legend_handles(points)
    rows = -(-len(handles) // 4) if points else 0
    width = 8.0 if len(encoders) == 1 else 12.0
    figure, grid = new_figure("Caption perplexity against trainable parameters", Stamp(settings.data, settings.scale),
                              (width, 4.6), columns=len(encoders), aid=aid, legend_rows=rows, sharey=bool(points))  # fmt: skip
    for axes, encoder in zip(grid[0], encoders, strict=True):
        own = [point for point in points if point.settings.encoder == encoder]
        axes.set_title(f"image encoder: {encoder}" if encoder else "")
        if not own:
            say_not_run(axes)
            continue
        draw_front(axes, own)
        draw_points(axes, own)
        name_points(axes, own)
        axes.set_xscale("symlog", linthresh=LEAST, linscale=0.5)
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set(xlabel="trainable parameters of the language model (log scale)",
                 ylabel="perplexity per token, test split", xlim=(-LEAST / 2, None))  # fmt: skip
        axes.margins(y=0.1)
    if points:
        add_legend(figure, handles, columns=4)
    return figure

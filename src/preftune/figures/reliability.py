"""Are differences of rewards probabilities? The reliability diagram of held-out preference pairs.

A reward head trained with a logistic loss predicts that answer a is preferred to b with probability
sigma(r_a - r_b) (Bradley and Terry 1952). Both candidates stand in their own order, so that the observed outcome,
whether a is the preferred one, is not fixed beforehand.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import expit
from scipy.stats import norm

from preftune.figures.pairs import PairRewards, hide_rest, panel_grid, read_shown
from preftune.figures.settings import PairFigureSettings
from preftune.figures.style import Stamp, mark, new_figure
from preftune.stats.bootstrap import Array

BINS = 10


@dataclass(frozen=True)
class Bin:
    """Pairs of similar prediction: mean prediction, observed share and its interval, number of predictions."""

    predicted: float
    observed: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Reliability:
    """Bins, mean squared error of the predictions, and expected calibration error."""

    bins: list[Bin]
    brier: float
    ece: float


def wilson_interval(share: float, count: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share of `count` trials (Wilson 1927)."""
    z = float(norm.ppf((1 + level) / 2))
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return middle - half, middle + half


def assess_reliability(predicted: Array, observed: Array, seeds: int = 1) -> Reliability:
    """Reliability of probabilities [predictions] for outcomes 0 or 1 [predictions], in bins of equal width.

    seeds: how often every pair stands among the predictions; intervals count a pair once.
    """
    place = np.minimum((predicted * BINS).astype(int), BINS - 1)
    bins = []
    for number in np.unique(place):
        inside = place == number
        share, count = float(observed[inside].mean()), int(inside.sum())
        low, high = wilson_interval(share, count / seeds)
        bins.append(Bin(float(predicted[inside].mean()), share, low, high, count))
    gaps = sum(one.count * abs(one.predicted - one.observed) for one in bins)
    return Reliability(bins, float(np.mean((predicted - observed) ** 2)), gaps / len(predicted))


def assess_run(seeds: Mapping[int, PairRewards]) -> Reliability:
    """Reliability of one run over the pairs of all its seeds."""
    predicted = np.concatenate([expit(pairs.rewards[:, 0] - pairs.rewards[:, 1]) for pairs in seeds.values()])
    observed = np.concatenate([pairs.first_preferred for pairs in seeds.values()]).astype(float)
    return assess_reliability(predicted, observed, len(seeds))


def draw_panel(axes: Axes, found: Reliability, index: int, label: str) -> None:
    """One run's bins with intervals around the diagonal."""
    look = mark(index)
    axes.plot([0, 1], [0, 1], color="#777777", linewidth=1.0, linestyle=(0, (4, 2)))
    x, y = ([getattr(one, name) for one in found.bins] for name in ("predicted", "observed"))
    spread = [
        [max(0.0, one.observed - one.low) for one in found.bins],
        [max(0.0, one.high - one.observed) for one in found.bins],
    ]
    axes.errorbar(
        x, y, yerr=spread, fmt=look.marker, linestyle=look.line, color=look.colour, capsize=2, markersize=5,
        elinewidth=0.9, label=f"Brier {found.brier:.3f}, ECE {found.ece:.3f}",
    )  # fmt: skip
    axes.set(title=label, xlim=(-0.02, 1.02), ylim=(-0.02, 1.24), yticks=np.linspace(0, 1, 6))
    axes.set(xlabel="predicted: σ(r$_a$ − r$_b$)", ylabel="observed: a preferred")
    axes.legend(loc="upper left", borderaxespad=0.1, handlelength=2.6)


def draw_reliability(folders: Sequence[Path], settings: PairFigureSettings) -> Figure:
    """Predicted against observed preferences of held-out pairs, a panel a run.

    Args:
        folders: score folders `.../<run>/seed-<n>/` with the tasks of the suite `preference`.
        settings: the runs in the order of the panels, their labels, scale and data.
    """
    found, absent = read_shown(folders, settings)
    rows, columns = panel_grid(len(found))
    aid = [
        "On the diagonal a difference of rewards is a probability; a flatter curve is overconfident, a steeper one "
        "underconfident. Ten bins of equal width, all seeds; bars: 95 % Wilson intervals that count a pair once. "
        "Always saying 1/2 has a Brier score of 0.25.",
        *absent,
    ]
    stamp, size = Stamp(settings.data, settings.scale), (3.3 * columns + 0.6, 2.9 * rows)
    figure, grid = new_figure("Reliability of rewards on held-out preference pairs", stamp, size, rows, columns,
                              aid=aid)  # fmt: skip
    for index, (axes, (run, seeds)) in enumerate(zip(grid.flat, found.items(), strict=False)):
        draw_panel(axes, assess_run(seeds), index, settings.label(run))
    hide_rest(grid, len(found))
    return figure

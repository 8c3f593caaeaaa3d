"""Are differences of rewards probabilities? The reliability diagram of held-out preference pairs.

Let delta = r_a - r_b. A head trained with the contrastive loss predicts that answer a is preferred to b with
probability sigma(delta) (Bradley and Terry 1952). The separable loss puts the probability at sigma(r_w), which is
sigma(delta / 2) where a pair's rewards are centred on zero (docs/theory.md, T4 and T8): at its optimum sigma(delta) is
overconfident. Both candidates stand in their own order, so that the observed outcome, whether a is the preferred one,
is not fixed beforehand.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import expit

from preftune.figures.pairs import new_pair_figure
from preftune.figures.settings import ReliabilityFigureSettings
from preftune.figures.style import Mark, mark
from preftune.stats.calibration import Reliability, assess_reliability
from preftune.tables.pairs import PairRewards


def assess_run(seeds: Mapping[int, PairRewards], scale: float = 1.0) -> Reliability:
    """Reliability of sigma(scale * (r_a - r_b)) for one run, over the pairs of all its seeds."""
    rewards = np.concatenate([pairs.rewards for pairs in seeds.values()])
    observed = np.concatenate([pairs.first_preferred for pairs in seeds.values()]).astype(float)
    return assess_reliability(expit(scale * (rewards[:, 0] - rewards[:, 1])), observed, len(seeds))


def draw_bins(axes: Axes, found: Reliability, look: Mark, name: str, style: Mapping[str, Any]) -> None:
    """One series of bins with intervals; the legend has the name of its prediction and its errors."""
    x, y = ([getattr(one, part) for one in found.bins] for part in ("predicted", "observed"))
    spread = [
        [max(0.0, one.observed - one.low) for one in found.bins],
        [max(0.0, one.high - one.observed) for one in found.bins],
    ]
    label = f"{name}: Brier {found.brier:.3f}, ECE {found.ece:.3f}"
    axes.errorbar(x, y, yerr=spread, color=look.colour, capsize=2, elinewidth=0.9, label=label, **style)


def draw_panel(axes: Axes, seeds: Mapping[int, PairRewards], index: int, label: str, loss: str) -> None:
    """One run's bins around the diagonal, by sigma(delta) and, after the separable loss, paler by sigma(delta / 2)."""
    look = mark(index)
    axes.plot([0, 1], [0, 1], color="#777777", linewidth=1.0, linestyle=(0, (4, 2)))
    style: dict[str, Any] = {"marker": look.marker, "linestyle": look.line, "markersize": 5}
    draw_bins(axes, assess_run(seeds), look, "σ(δ)", style)
    if loss == "separable":
        pale = style | {"markerfacecolor": "white", "alpha": 0.5, "linewidth": 1.0, "zorder": 1.9}
        draw_bins(axes, assess_run(seeds, 0.5), look, "σ(δ/2)", pale)
    axes.set(title=f"{label}\n{loss} loss" if loss else label)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.36), yticks=np.linspace(0, 1, 6))
    axes.set(xlabel="predicted", ylabel="observed: a preferred")
    axes.legend(loc="upper left", borderaxespad=0.1, handlelength=2.6, labelspacing=0.2)


def draw_reliability(folders: Sequence[Path], settings: ReliabilityFigureSettings) -> Figure:
    """Predicted against observed preferences of held-out pairs, a panel a run.

    Args:
        folders: score folders `.../<run>/seed-<n>/` with the tasks of the suite `preference`.
        settings: the runs in the order of the panels, their labels and losses, scale and data.
    """
    aid = (
        "δ = r$_a$ − r$_b$. On the diagonal a prediction is a probability; a flatter curve is overconfident, a steeper "
        "one underconfident. The contrastive loss makes σ(δ) the probability; the separable loss makes it σ(r) of the "
        "preferred answer, which is σ(δ/2) where the rewards of a pair are centred on zero (pale, hollow marks). Ten "
        "bins of equal width, all seeds; bars: 95 % Wilson intervals that count a pair once. Saying 1/2 has Brier 0.25."
    )
    title = "Reliability of rewards on held-out preference pairs"
    figure, panels = new_pair_figure(title, folders, settings, (3.3, 3.1), aid)
    for index, (axes, run, seeds) in enumerate(panels):
        loss = settings.settings[run].dph if run in settings.settings else ""
        draw_panel(axes, seeds, index, settings.label(run), loss)
    return figure

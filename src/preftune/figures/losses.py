"""Loss landscapes of the separable and the contrastive DPH loss (DPH paper, Figure 1), in closed form."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure

from preftune.figures.style import Stamp, mark, new_figure

LOSS_CEILING = 10.0


def softplus(x: np.ndarray) -> np.ndarray:
    """log(1 + exp(x)) = -log sigmoid(-x), without overflow."""
    return np.logaddexp(0.0, x)


def separable_loss(chosen: np.ndarray, rejected: np.ndarray, epsilon: float) -> np.ndarray:
    """Separable DPH loss (nats) at rewards of equal shape: cross-entropies with targets 1 - eps and eps."""
    chosen_term = (1 - epsilon) * softplus(-chosen) + epsilon * softplus(chosen)
    rejected_term = epsilon * softplus(-rejected) + (1 - epsilon) * softplus(rejected)
    return chosen_term + rejected_term


def contrastive_loss(chosen: np.ndarray, rejected: np.ndarray, epsilon: float) -> np.ndarray:
    """Contrastive DPH loss (nats) at rewards of equal shape: one cross-entropy of their difference."""
    margin = chosen - rejected
    return (1 - epsilon) * softplus(-margin) + epsilon * softplus(margin)


LOSSES = {"separable": separable_loss, "contrastive": contrastive_loss}


def optimal_margin(kind: str, epsilon: float) -> float:
    """Margin r_w - r_l at the minimum: log((1-eps)/eps), twice that if separable, inf for eps = 0."""
    if epsilon == 0:
        return float("inf")
    return float(np.log((1 - epsilon) / epsilon)) * (2 if kind == "separable" else 1)


def draw_optimum(axes: Axes, kind: str, epsilon: float, limit: float) -> None:
    """Mark where a surface is lowest: a point (separable), a line (contrastive), or a note if nowhere."""
    margin = optimal_margin(kind, epsilon)
    text = "no finite minimum" if np.isinf(margin) else f"optimal margin {margin:.2f}"
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 2}
    axes.text(0.03, 0.04, text, transform=axes.transAxes, size=8, bbox=box)
    if np.isinf(margin):
        return
    if kind == "separable":
        axes.plot(margin / 2, -margin / 2, marker="*", markersize=15, color="white", markeredgecolor="black")
    else:
        line = np.array([-limit, limit])
        axes.plot(line, line - margin, color="black", linewidth=3.2)
        axes.plot(line, line - margin, color="white", linewidth=1.6, linestyle="--")


def draw_surface(axes: Axes, kind: str, epsilon: float, limit: float) -> QuadContourSet:
    """Draw one loss surface over (r_w, r_l) with labelled level lines; returns its filled contours."""
    rewards = np.linspace(-limit, limit, 121)
    chosen, rejected = np.meshgrid(rewards, rewards)
    loss = LOSSES[kind](chosen, rejected, epsilon)
    surface = axes.contourf(
        chosen, rejected, loss, levels=np.linspace(0, LOSS_CEILING, 41), cmap="cividis", extend="max"
    )
    lines = axes.contour(chosen, rejected, loss, levels=[0.5, 1, 2, 4, 6, 8], colors="white", linewidths=0.8)
    axes.clabel(lines, fmt="%g", fontsize=7)
    draw_optimum(axes, kind, epsilon, limit)
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", title=f"{kind}, ε = {epsilon:g}")
    axes.grid(False)
    return surface


def draw_section(axes: Axes, kind: str, epsilons: Sequence[float], limit: float) -> None:
    """Draw loss against margin along r_l = -r_w, one line per epsilon, each with its minimum marked."""
    margins = np.linspace(-2 * limit, 2 * limit, 401)
    for index, epsilon in enumerate(epsilons):
        look = mark(index)
        loss = LOSSES[kind](margins / 2, -margins / 2, epsilon)
        axes.plot(margins, loss, color=look.colour, linestyle=look.line, label=f"ε = {epsilon:g}")
        best = optimal_margin(kind, epsilon)
        if np.isfinite(best):
            lowest = LOSSES[kind](np.array(best / 2), np.array(-best / 2), epsilon)
            axes.plot(best, lowest, marker="*", markersize=12, color=look.colour, markeredgecolor="black")
    axes.set(title=f"{kind}, section $r_l = -r_w$", ylim=(0, LOSS_CEILING), ylabel="loss (nats)")
    axes.legend(loc="upper right")


def draw_loss_landscape(epsilons: Sequence[float], limit: float, stamp: Stamp) -> Figure:
    """Surfaces of both losses for each epsilon, and the loss along the anti-diagonal (DPH paper, Figure 1).

    Args:
        epsilons: label smoothings, each 0 <= epsilon < 0.5, one column each.
        limit: rewards run from -limit to +limit.
    """
    columns = len(epsilons) + 1
    aid = [
        "Darker is lower. The star (separable) or dashed line (contrastive) is the margin at which the "
        "gradient vanishes: beyond it the loss rises again, so ε caps the margin; with ε = 0 rewards "
        "diverge. The contrastive loss is flat along equal shifts of both rewards."
    ]
    title = "DPH loss over the rewards of the chosen and the rejected answer"
    figure, grid = new_figure(title, stamp, (2.6 * columns, 5.6), rows=2, columns=columns, aid=aid)
    for row, kind in enumerate(LOSSES):
        for column, epsilon in enumerate(epsilons):
            surface = draw_surface(grid[row, column], kind, epsilon, limit)
            grid[row, column].set_xlabel("chosen reward $r_w$" if row == 1 else "")
            grid[row, column].set_ylabel("rejected reward $r_l$" if column == 0 else "")
        draw_section(grid[row, -1], kind, epsilons, limit)
        grid[row, -1].set_xlabel("margin $r_w - r_l$" if row == 1 else "")
    bar = figure.colorbar(
        surface, ax=list(grid[:, :-1].flat), shrink=0.7, pad=0.01, ticks=[0, 2, 4, 6, 8, 10]
    )
    bar.set_label("loss (nats)")
    return figure

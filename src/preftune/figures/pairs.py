"""Panels of the rewards of held-out preference pairs, and the figure of their distributions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from preftune.figures.settings import PairFigureSettings
from preftune.figures.style import COLOURS, NOT_RUN, Stamp, add_legend, new_figure, say_not_run
from preftune.tables.pairs import PairRewards, read_pair_rewards
from preftune.tables.scores import ScoreStore

COLUMNS = 3
BINS = 24


def new_pair_figure(
    title: str, folders: Sequence[Path], settings: PairFigureSettings, size: tuple[float, float], aid: str,
    legend_rows: int = 0,
) -> tuple[Figure, list[tuple[Axes, str, dict[int, PairRewards]]]]:  # fmt: skip
    """A figure with a panel of `size` (width, height in inches) for each shown run that has rewards.

    The other runs are named under the panels; where no run has rewards, the only panel says so.

    Returns:
        The figure; of each run its axes, its name, and its rewards by seed.
    """
    store = ScoreStore(folders, settings.runs or None)
    found = {run: read_pair_rewards(store, run) for run in settings.shown}
    shown = {run: seeds for run, seeds in found.items() if seeds}
    absent = [settings.label(run) for run in found if run not in shown]
    note = [f"{NOT_RUN.capitalize()}: {', '.join(absent)}."] if absent else []
    count = max(1, len(shown))
    rows, columns = -(-count // COLUMNS), min(count, COLUMNS)
    stamp, whole = Stamp(settings.data, settings.scale), (size[0] * columns + 0.6, size[1] * rows)
    figure, grid = new_figure(title, stamp, whole, rows, columns, aid=[aid, *note], legend_rows=legend_rows)
    if not shown:
        say_not_run(grid.flat[0])
    for axes in list(grid.flat)[count:]:
        axes.set_axis_off()
    return figure, [(axes, run, seeds) for axes, (run, seeds) in zip(grid.flat, shown.items(), strict=False)]


def draw_histograms(axes: Axes, pairs: PairRewards) -> None:
    """Histograms of both kinds of answers over shared bins, with their means as vertical lines."""
    edges = np.histogram_bin_edges(pairs.rewards, BINS).tolist()
    axes.hist(pairs.preferred, edges, color=COLOURS[5], edgecolor=COLOURS[0], linewidth=0.6)
    axes.hist(pairs.dispreferred, edges, histtype="step", color=COLOURS[2], linewidth=1.4, linestyle="--")
    axes.axvline(pairs.preferred.mean(), color=COLOURS[0], linewidth=1.6)
    axes.axvline(pairs.dispreferred.mean(), color=COLOURS[2], linewidth=1.6, linestyle="--")


def describe_pairs(pairs: PairRewards) -> str:
    """Accuracy, mean margin and number of pairs."""
    margin = pairs.preferred - pairs.dispreferred
    return f"accuracy {100 * (margin > 0).mean():.1f} %, mean margin {margin.mean():.2f}, n {len(margin)}"


def draw_reward_distributions(folders: Sequence[Path], settings: PairFigureSettings) -> Figure:
    """Rewards of preferred and dispreferred held-out answers, a panel a run, of its first seed.

    Args:
        folders: score folders `.../<run>/seed-<n>/` with the tasks of the suite `preference`.
        settings: the runs in the order of the panels, their labels, scale and data.
    """
    aid = (
        "The further the filled histogram lies to the right of the dashed one, the better the head tells the answers "
        "apart. Vertical lines: means. The first seed of each run; each panel has its own axes, since a contrastive "
        "loss fixes neither the zero nor, without label smoothing, the scale of the rewards."
    )
    title = "Rewards of held-out preference pairs"
    figure, panels = new_pair_figure(title, folders, settings, (3.4, 2.5), aid, legend_rows=1)
    for axes, run, seeds in panels:
        pairs = next(iter(seeds.values()))
        draw_histograms(axes, pairs)
        axes.set(xlabel="reward (logits)", ylabel="answers")
        axes.set_title(f"{settings.label(run)}\n{describe_pairs(pairs)}", size=8.5)
    handles = [
        Patch(facecolor=COLOURS[5], edgecolor=COLOURS[0], label="preferred answers"),
        Patch(fill=False, edgecolor=COLOURS[2], linestyle="--", label="dispreferred answers"),
    ]
    add_legend(figure, handles, 2)
    return figure

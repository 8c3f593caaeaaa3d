"""Training curves: rewards, margin, accuracy and loss of every step, with a reading aid and alarms.

"Both rewards fall: is it broken?" is the question most asked of preference training, so chosen, rejected,
margin and accuracy always stand side by side, and a sentence under them says what a healthy run looks like.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from preftune.errors import PreftuneError
from preftune.figures.runs import group_by_run
from preftune.figures.settings import CurveSettings
from preftune.figures.style import NOT_RUN, Stamp, add_legend, mark, new_figure, say_not_run
from preftune.files import read_jsonl

LEGEND_COLUMNS = 5
SMOOTHED_FROM = 16
LOWEST_ACCURACY = 0.55
LARGEST_LOSS_RISE = 1.05
HEAD, IMPLICIT = "", "implicit_"
REWARDS = {HEAD: "reward head", IMPLICIT: r"implicit, $\beta\,\log\,\pi/\pi_{ref}$"}
REWARD_PANELS = ("chosen_reward", "rejected_reward", "margin", "accuracy")
LOSS_PANELS = {
    "loss": ("alignment loss, total", "loss (nats per pair)"),
    "dph_loss": ("DPH term", "loss (nats per pair)"),
    "policy_loss": ("policy term", "loss (nats per pair)"),
}
READING_AID = (
    "Reading aid: margin and accuracy should rise and the loss fall; chosen and rejected may both fall, "
    "which is healthy as long as the margin grows."
)


@dataclass(frozen=True)
class Curves:
    """All seeds of one run: each a mapping from a logged key to its values, one per step that logged it."""

    run: str
    seeds: list[dict[str, np.ndarray]]

    def has(self, key: str) -> bool:
        """Whether any seed logged `key`."""
        return any(key in seed for seed in self.seeds)

    def mean(self, key: str) -> np.ndarray:
        """Mean over the seeds that logged `key`, cut to the shortest: `[steps]`."""
        logged = [seed[key] for seed in self.seeds if key in seed]
        shortest = min(len(values) for values in logged)
        return np.mean([values[:shortest] for values in logged], axis=0)

    def steps(self, key: str) -> np.ndarray:
        """Step numbers of `mean(key)`."""
        first = next(seed for seed in self.seeds if key in seed)
        return first[f"{key} steps"][: len(self.mean(key))]


def read_metrics(folder: Path) -> dict[str, np.ndarray]:
    """Read `metrics.jsonl` of a model folder into one array per key, and the steps at which it was logged."""
    path = Path(folder) / "metrics.jsonl"
    values: dict[str, list[float]] = {}
    for number, row in enumerate(read_jsonl(path), start=1):
        if "step" not in row or "loss" not in row:
            raise PreftuneError(f"{path}, row {number} lacks `step` or `loss`: train this run again.")
        for key, value in row.items():
            if key != "step" and isinstance(value, int | float):
                values.setdefault(key, []).append(float(value))
                values.setdefault(f"{key} steps", []).append(float(row["step"]))
    return {key: np.array(numbers) for key, numbers in values.items()}


def read_curves(folders: Sequence[Path], order: Sequence[str] = ()) -> list[Curves]:
    """Curves of every run among the model folders, seeds grouped."""
    if not folders:
        raise PreftuneError("No model folder was given: name at least one trained run with --models.")
    return [
        Curves(run, [read_metrics(path) for path in paths])
        for run, paths in group_by_run(folders, order).items()
    ]


def running_mean(values: np.ndarray) -> np.ndarray:
    """Centred mean over an eighth of the curve, with shorter windows at both ends: `[steps]`."""
    reach = max(1, len(values) // 16)
    return np.array([values[max(0, i - reach) : i + reach + 1].mean() for i in range(len(values))])


def find_alarms(curves: Curves) -> list[str]:
    """Thresholds that one run's last quarter of steps breaks: margin, accuracy, and the rise of the loss."""
    alarms = []
    for prefix, name in ((HEAD, ""), (IMPLICIT, "implicit ")):
        if curves.has(prefix + "margin") and (margin := last_quarter(curves, prefix + "margin")) <= 0:
            alarms.append(f"{name}margin {margin:.3f}")
        if (
            curves.has(prefix + "accuracy")
            and (accuracy := last_quarter(curves, prefix + "accuracy")) < LOWEST_ACCURACY
        ):
            alarms.append(f"{name}accuracy {accuracy:.2f}")
    values = curves.mean("loss")
    first, last = values[: max(1, len(values) // 4)].mean(), last_quarter(curves, "loss")
    if last > LARGEST_LOSS_RISE * first > 0:
        alarms.append(f"loss rose from {first:.3f} to {last:.3f}")
    return alarms


def last_quarter(curves: Curves, key: str) -> float:
    """Mean of a logged key over the last quarter of its steps."""
    values = curves.mean(key)
    return float(values[-max(1, len(values) // 4) :].mean())


def draw_curve(axes: Axes, curves: Curves, key: str, index: int, label: str) -> None:
    """Draw one run's mean over seeds: its running mean thick, every step of every seed thin."""
    look = mark(index)
    steps, values = curves.steps(key), curves.mean(key)
    smooth = len(values) >= SMOOTHED_FROM
    shown = running_mean(values) if smooth else values
    every = max(1, len(values) // 8)
    axes.plot(
        steps, shown, color=look.colour, linestyle=look.line, linewidth=1.8, label=label,
        marker=look.marker, markersize=4.5, markevery=(index % every, every),
    )  # fmt: skip
    fine = [seed for seed in curves.seeds if key in seed] if smooth or len(curves.seeds) > 1 else []
    for seed in fine:
        axes.plot(seed[f"{key} steps"], seed[key], color=look.colour, linewidth=0.5, alpha=0.45)


def draw_panel(axes: Axes, runs: Sequence[Curves], key: str, labels: CurveSettings, first: int = 0) -> None:
    """Draw one logged key of every run that has it, or say that no run does."""
    drawn = False
    for index, curves in enumerate(runs):
        if curves.has(key):
            draw_curve(axes, curves, key, first + index, labels.label(curves.run))
            drawn = True
    if not drawn:
        say_not_run(axes, NOT_RUN)
    axes.set_xlabel("optimiser step")


def draw_reward_panels(
    panels: Sequence[Axes], runs: Sequence[Curves], prefix: str, settings: CurveSettings
) -> None:
    """Draw chosen, rejected, margin and accuracy of one kind of reward; the first two share a scale."""
    for axes, name in zip(panels, REWARD_PANELS, strict=True):
        draw_panel(axes, runs, prefix + name, settings)
        axes.set(
            title=f"{name.replace('_', ' ')} ({REWARDS[prefix]})",
            ylabel="fraction of pairs" if name == "accuracy" else "nats",
        )
    if any(curves.has(prefix + "margin") for curves in runs):
        limits = [limit for axes in panels[:2] for limit in axes.get_ylim()]
        for axes in panels[:2]:
            axes.set_ylim(min(limits), max(limits))
        draw_reference(panels[2], 0.0, "no preference")
        draw_reference(panels[3], 0.5, "chance")
        panels[3].set_ylim(-0.03, 1.05)


def draw_reference(axes: Axes, level: float, text: str) -> None:
    """Draw a labelled level that a healthy curve leaves behind."""
    axes.axhline(level, color="#666666", linewidth=0.8, linestyle=(0, (2, 2)))
    axes.annotate(
        text,
        (1, level),
        xycoords=("axes fraction", "data"),
        ha="right",
        va="bottom",
        size=7.5,
        color="#444444",
    )


def reading_aid(aligned: Sequence[Curves], settings: CurveSettings, every: Sequence[Curves]) -> list[str]:
    """Sentences under the figure: how to read it, and which alarms it raises."""
    alarms = [
        f"{settings.label(curves.run)}: {', '.join(found)}"
        for curves in every
        if (found := find_alarms(curves))
    ]
    aid = (
        [READING_AID]
        if aligned
        else ["Reading aid: the loss should fall and flatten; a rise says too high a learning rate."]
    )
    if any(len(curves.mean("loss")) >= SMOOTHED_FROM for curves in every):
        aid.append("Thin lines: every step; thick lines: running mean over an eighth of the run.")
    rule = f"margin ≤ 0, accuracy < {LOWEST_ACCURACY}, loss up by more than 5 %, last quarter of the steps"
    return [*aid, f"Alarms ({rule}): {'; '.join(alarms) if alarms else 'none'}."]


def draw_training_curves(folders: Sequence[Path], settings: CurveSettings) -> Figure:
    """Training curves of the runs in `folders`: twelve panels for preference runs, one for losses only.

    Args:
        folders: model folders `.../<run>/seed-<n>/`, each with a `metrics.jsonl`.
        settings: title, legend texts, scale and data.
    """
    runs = read_curves(folders, settings.runs)
    aligned = [curves for curves in runs if curves.has("margin") or curves.has(IMPLICIT + "margin")]
    likelihood = [curves for curves in runs if curves not in aligned]
    aid = reading_aid(aligned, settings, runs)
    stamp = Stamp(settings.data, settings.scale)
    lines = -(-len(runs) // LEGEND_COLUMNS)
    if aligned:
        figure, grid = new_figure(
            settings.title, stamp, (13.0, 8.2), rows=3, columns=4, aid=aid, legend_rows=lines
        )
        draw_reward_panels(list(grid[0]), aligned, HEAD, settings)
        draw_reward_panels(list(grid[1]), aligned, IMPLICIT, settings)
        for axes, (key, (title, unit)) in zip(grid[2], LOSS_PANELS.items(), strict=False):
            draw_panel(axes, aligned, key, settings)
            axes.set(title=title, ylabel=unit)
    else:
        figure, grid = new_figure(settings.title, stamp, (8.0, 4.2), aid=aid, legend_rows=lines)
    last = grid[-1, -1]
    draw_panel(last, likelihood, "loss", settings, first=len(aligned))
    last.set(title="language-model loss", ylabel="loss (nats per token)")
    add_legend(figure, legend_handles(figure), LEGEND_COLUMNS)
    return figure


def legend_handles(figure: Figure) -> list[Any]:
    """One legend entry per run, over all panels."""
    pairs = [pair for axes in figure.axes for pair in zip(*axes.get_legend_handles_labels(), strict=True)]
    return list({text: handle for handle, text in pairs}.values())

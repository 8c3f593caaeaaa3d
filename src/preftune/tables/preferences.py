"""How well each run ranks held-out preference pairs, beside its accuracy on the choice tasks.

`preferences` has every run by each of its scores, `baselines` the systems that one would use instead of a
head with what they cost, `frozen_grid` the heads on a frozen language model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from preftune.settings.alignment import AlignmentSettings
from preftune.tables.averages import CHOICE_SUITES
from preftune.tables.measures import Measure, combine
from preftune.tables.records import Records
from preftune.tables.settings import AlignmentTableSettings, RunFacts, frozen_runs
from preftune.tables.sheet import Sheet
from preftune.tables.sources import Sources

PAIRS = ("preference",)
COLUMNS = (
    ("pairs, log a token", PAIRS, "log"),
    ("pairs, log summed", PAIRS, "log_sum"),
    ("pairs, implicit", PAIRS, "implicit"),
    ("pairs, reward", PAIRS, "reward"),
    ("choice, log a token", CHOICE_SUITES, "log"),
    ("choice, implicit", CHOICE_SUITES, "implicit"),
    ("choice, reward", CHOICE_SUITES, "reward"),
)
SFT = "sft"
# From the least to the most that a head can learn.
POOLERS = get_args(AlignmentSettings.model_fields["pooler"].annotation)
LOSSES = get_args(AlignmentSettings.model_fields["dph"].annotation)


@dataclass(frozen=True)
class Baseline:
    """A system: the score that its training shapes, and what scoring one candidate takes.

    `beside` is what inference needs beside the SFT model or the policy in its place: a `head`, on the policy or a
    frozen one; a whole `model`; the `reference`; or nothing. A pass of each language model involved is counted.
    """

    run: str
    score: str
    beside: str
    passes: int


BASELINES = (
    Baseline("dph-joint", "reward", "head", 1),
    Baseline("dph-only", "reward", "head", 1),
    Baseline("dph-frozen", "reward", "frozen head", 1),
    Baseline("linear-probe", "reward", "frozen head", 1),
    Baseline("bradley-terry", "reward", "model", 2),
    Baseline("dpo-only", "implicit", "reference", 2),
    Baseline("sft-chosen", "log", "", 1),
)


def tabulate_preferences(sheet: Sheet, sources: Sources, settings: AlignmentTableSettings) -> None:
    """Accuracy on held-out pairs and on the choice tasks of every run, by every score that it has."""
    for run in settings.runs:
        for column, suites, score in COLUMNS:
            sheet.add_accuracy(sources.scores, run, column, suites, run=run, score=score)


def tabulate_baselines(sheet: Sheet, sources: Sources, settings: AlignmentTableSettings) -> None:
    """Quality and cost of each system, by the score that its training shapes."""
    for system in BASELINES:
        run, row = system.run, f"{system.run} ({system.score})"
        for column, suites in (("held-out pairs", PAIRS), ("choice tasks", CHOICE_SUITES)):
            sheet.add_accuracy(sources.scores, row, column, suites, run=run, score=system.score)
        training = sources.training
        trained = training.measure(run, "trainable_parameters")
        passes = (
            None if trained is None else constant(trained, system.passes, "forward passes, by construction")
        )
        cells = (
            ("trained parameters", "trainable_parameters", trained),
            ("parameters beside the SFT model", "extra_parameters", count_extra(training, system)),
            ("forward passes a candidate", "forward_passes", passes),
            ("pairs seen", "examples", training.measure(run, "examples")),
            ("steps", "steps", training.measure(run, "steps")),
            ("training time (s)", "training_seconds", training.measure(run, "training_seconds")),
        )
        for column, metric, measured in cells:
            sheet.add(row, column, metric, measured, run=run, missing=f"training record of {run}")
        once = None if trained is None else time_reference(sources, settings.settings.get(run), trained)
        missing = f"training record and settings of {run}, or record of the reference pass of {SFT}"
        sheet.add(row, "computed once (s)", "wall_seconds", once, run=run, missing=missing)


def count_extra(training: Records, system: Baseline) -> Measure | None:
    """Parameters that scoring needs beside the files of the SFT model, which the aligned policy replaces.

    Where SFT is an adapter, the base model under it is shared: a second model is an adapter (and its head) more.
    """
    trained = training.measure(system.run, "trainable_parameters")
    if trained is None or system.beside == "frozen head":
        return trained
    if system.beside == "":
        return constant(trained, 0, "none")
    whole = training.measure(system.run, "parameters")
    sft, sft_trained = (training.measure(SFT, key) for key in ("parameters", "trainable_parameters"))
    if whole is None or sft is None or sft_trained is None:
        return None
    is_adapter = sft_trained.value < sft.value
    if system.beside == "model":
        return trained if is_adapter else whole
    if system.beside == "reference":
        stored = sft_trained if is_adapter else sft
        return constant(trained, stored.value, "parameters of the reference: the SFT model, or its adapter")
    says = "parameters beyond those of the SFT model"
    return combine([whole, constant(whole, sft.value, says)], lambda pair: pair[0] - pair[1], says)


def constant(like: Measure, value: float, aggregation: str) -> Measure:
    """The same value for every seed of a measure."""
    return Measure(dict.fromkeys(like.per_seed, float(value)), None, 0, "", like.files, aggregation)


def time_reference(sources: Sources, facts: RunFacts | None, trained: Measure) -> Measure | None:
    """Seconds of the SFT model's pass over the pairs that a training follows, by seed of SFT; 0 where there is none."""
    if facts is None:
        return None
    if facts.reads_reference:
        return sources.references.measure(SFT, "wall_seconds")
    return Measure({0: 0.0}, None, 0, "", trained.files, "nothing is computed before this training")


def tabulate_frozen_grid(sheet: Sheet, sources: Sources, settings: AlignmentTableSettings) -> None:
    """Heads on a frozen language model: pooler and loss by label smoothing, by the reward on pairs and choice tasks."""
    grid = frozen_grid(settings)
    epsilons = sorted({epsilon for _, _, epsilon in grid})
    heads = {(pooler, loss) for pooler, loss, _ in grid}
    for pooler, loss in sorted(heads, key=lambda head: (LOSSES.index(head[1]), POOLERS.index(head[0]))):
        for name, suites in (("pairs", PAIRS), ("choice", CHOICE_SUITES)):
            for epsilon in epsilons:
                row, column = f"{pooler}, {loss}", f"{name}, ε = {epsilon:g}"
                run = grid.get((pooler, loss, epsilon))
                if run is None:
                    sheet.leave_blank(row, column, "mean_accuracy", run="", reason="no run of the registry")
                else:
                    sheet.add_accuracy(sources.scores, row, column, suites, run=run, score="reward")


def frozen_grid(settings: AlignmentTableSettings) -> dict[tuple[str, str, float], str]:
    """By pooler, loss and label smoothing the registry's first run that trains this head alone, on unflipped pairs."""
    grid: dict[tuple[str, str, float], str] = {}
    for run, facts in frozen_runs(settings.runs, settings.settings).items():
        if facts.flipped == 0:
            grid.setdefault(facts.head, run)
    return grid

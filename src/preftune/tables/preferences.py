"""How well each run ranks held-out preference pairs, beside its accuracy on the choice tasks.

`preferences` has every run by each of its scores, `baselines` the systems that one would use instead of a
head with what they cost, `frozen_grid` the heads on a frozen language model.
"""

from __future__ import annotations

from dataclasses import dataclass

from preftune.tables.averages import CHOICE_SUITES
from preftune.tables.measures import Measure, combine
from preftune.tables.settings import AlignmentTableSettings, RunFacts
from preftune.tables.sheet import Sheet
from preftune.tables.sources import Sources
from preftune.tables.training_facts import TrainingFacts

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
            ("training time (s)", "training_seconds", training.measure(run, "training_seconds")),
            ("steps", "steps", training.measure(run, "steps")),
        )
        for column, metric, measured in cells:
            sheet.add(row, column, metric, measured, run=run, missing=f"training record of {run}")


def count_extra(training: TrainingFacts, system: Baseline) -> Measure | None:
    """Parameters that scoring needs beside the SFT model, which the aligned policy replaces."""
    trained = training.measure(system.run, "trainable_parameters")
    if trained is None or system.beside == "frozen head":
        return trained
    if system.beside == "":
        return constant(trained, 0, "none")
    whole = training.measure(system.run, "parameters")
    if whole is None or system.beside == "model":
        return whole
    sft = training.measure(SFT, "parameters")
    if sft is None:
        return None
    reference = constant(trained, sft.value, "parameters of the reference, the SFT model")
    if system.beside == "reference":
        return reference
    says = "parameters beyond those of the SFT model"
    return combine([whole, reference], lambda pair: pair[0] - pair[1], says)


def constant(like: Measure, value: float, aggregation: str) -> Measure:
    """The same value for every seed of a measure."""
    return Measure(dict.fromkeys(like.per_seed, float(value)), None, 0, "", like.files, aggregation)


def tabulate_frozen_grid(sheet: Sheet, sources: Sources, settings: AlignmentTableSettings) -> None:
    """Heads on a frozen language model: pooler and loss by label smoothing, by the reward on pairs and choice tasks."""
    grid = frozen_grid(settings)
    epsilons = sorted({epsilon for _, _, epsilon in grid})
    for pooler, loss in dict.fromkeys((pooler, loss) for pooler, loss, _ in grid):
        for name, suites in (("pairs", PAIRS), ("choice", CHOICE_SUITES)):
            for epsilon in epsilons:
                row, column = f"{pooler}, {loss}", f"{name}, ε = {epsilon:g}"
                run = grid.get((pooler, loss, epsilon))
                if run is None:
                    sheet.leave_blank(row, column, "mean_accuracy", run="", reason="no run of the registry")
                else:
                    sheet.add_accuracy(sources.scores, row, column, suites, run=run, score="reward")


def frozen_grid(settings: AlignmentTableSettings) -> dict[tuple[str, str, float], str]:
    """Runs named `frozen-...` by pooler, loss and label smoothing, in the registry's order."""
    grid: dict[tuple[str, str, float], str] = {}
    for run in settings.runs:
        facts = settings.settings.get(run)
        if facts is not None and run.startswith("frozen-") and facts.flipped == 0:
            grid.setdefault(key_of(facts), run)
    return grid


def key_of(facts: RunFacts) -> tuple[str, str, float]:
    """What places a head in the grid."""
    return facts.pooler, facts.dph, facts.label_smoothing

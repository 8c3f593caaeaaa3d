"""What each captioning run costs: parameters, files, memory predicted and measured, operations, time, energy, and how much of
them until it reached the perplexity of full fine-tuning.

Read from the records of the trainings (`<run>/seed-<n>/run.json` with `metrics.jsonl` beside it) and of the decodings
(`<run>/seed-<n>.run.json`). What a record does not state was not measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from preftune.files import read_jsonl
from preftune.tables.assemble import Setting
from preftune.tables.captioners import CaptioningTableSettings, main_runs
from preftune.tables.cells import CellRecord
from preftune.tables.measures import Measure
from preftune.tables.records import Records
from preftune.tables.sheet import Sheet

NOT_MEASURED, NOT_REACHED = "not measured", "not reached"
CURVE = "validation_perplexity"
Values = dict[int, float]

TRAINING = (
    ("LM parameters", "lm_trainable_parameters", "parameters.language_model"),
    ("connector parameters", "trainable_parameters", "parameters.connector"),
    ("adapter file", "bytes", "files.adapter"),
    ("adapter file, predicted", "bytes", "files.predicted"),
    ("weights", "bytes", "memory.predicted.weights"),
    ("optimizer state", "bytes", "optimizer_state_bytes"),
    ("optimizer state, predicted", "bytes", "memory.predicted.optimizer"),
    ("gradients, predicted", "bytes", "memory.predicted.gradients"),
    ("activations of a pass, counted", "bytes", "memory.predicted.activations"),
    ("pass", "bytes", "memory.pass.peak-memory.pass.baseline"),
    ("pass, predicted", "bytes", "memory.predicted.gradients+memory.predicted.activations"),
    ("peak of training", "bytes", "memory.training.peak"),
    ("reserved", "bytes", "memory.training.reserved"),
)
"""Column, metric, and the fact of the record: a path of keys, or two joined by + or -."""
DECODING = (
    ("decoding", "bytes", "memory.decoding.peak-memory.decoding.baseline"),
    ("decoding, predicted", "bytes", "memory.predicted.decoding"),
    ("peak of decoding", "bytes", "memory.decoding.peak"),
)
SPENT = (
    ("operations", "flops_per_token", "flops_per_token"),
    ("training time (s)", "training_seconds", "training_seconds"),
    ("energy (Wh)", "watt_hours", "watt_hours"),
)


@dataclass(frozen=True)
class Curve:
    """Validation perplexity by step of one training."""

    points: tuple[tuple[int, float], ...]

    @property
    def best(self) -> float:
        """Of the weights that are kept."""
        return min(value for _, value in self.points)

    def first_below(self, level: float) -> int | None:
        """The first measured step with at most this perplexity."""
        return next((step for step, value in self.points if value <= level), None)


def cost_records(
    settings: CaptioningTableSettings, trainings: Records, decodings: Records
) -> list[CellRecord]:
    """Records of the table, a row a run; points of grids over learning rates and parts of the images are left out."""
    sheet = Sheet("costs", Setting(settings.scale, settings.data))
    curves = {run: read_curves(trainings, run) for run in settings.runs}
    shown = main_runs(settings.captioners)
    for run in (run for run in settings.runs if run in shown or run not in settings.captioners):
        for records, columns in ((trainings, TRAINING), (decodings, DECODING), (trainings, SPENT)):
            for column, metric, path in columns:
                add_fact(sheet, records, run, column, metric, path)
        add_reach(sheet, trainings, curves, run, find_reference(settings, run))
    return sheet.records


def add_fact(sheet: Sheet, records: Records, run: str, column: str, metric: str, path: str) -> None:
    """One fact of a run by seed; words where no seed states it."""
    if run not in records.runs:
        sheet.add(run, column, metric, None, run=run, missing=f"record of {run}")
        return
    values = {seed: look_up(facts, path) for seed, (_, facts) in records.runs[run].items()}
    found = {seed: value for seed, value in values.items() if value is not None}
    add_values(sheet, records, run, column, metric, found, f"{path} of the record", NOT_MEASURED)


def add_values(
    sheet: Sheet, records: Records, run: str, column: str, metric: str, values: Values, says: str, words: str
) -> None:
    """Values by seed, or `words` where there are none."""
    if not values:
        sheet.say(run, column, metric, words, run=run)
        return
    files = tuple(path.as_posix() for path, _ in records.runs[run].values())
    measured = Measure(values, None, 0, "", files, f"{says}, mean over seeds")
    sheet.add(run, column, metric, measured, run=run)


def look_up(facts: Mapping[str, Any], path: str) -> float | None:
    """A number of the facts by its keys joined by dots, or the sum or difference of two; None where it is not stated."""
    for sign, combine in (("+", float.__add__), ("-", float.__sub__)):
        if sign in path:
            a, b = (look_up(facts, part) for part in path.split(sign))
            return None if a is None or b is None else combine(a, b)
    value: Any = facts
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def read_curves(trainings: Records, run: str) -> dict[int, Curve]:
    """The validation curve of every seed that was validated."""
    curves = {}
    for seed, (path, _) in trainings.runs.get(run, {}).items():
        file = path.with_name("metrics.jsonl")
        rows = read_jsonl(file) if file.is_file() else []
        points = tuple((int(row["step"]), float(row[CURVE])) for row in rows if row.get(CURVE) is not None)
        if points:
            curves[seed] = Curve(points)
    return curves


def find_reference(settings: CaptioningTableSettings, run: str) -> str | None:
    """The run whose perplexity is to be reached: of the same encoder the first full fine-tuning, else LoRA-8 on AF.

    The first of them in the order of the runs, with all training images.
    """
    known = settings.captioners
    if run not in known:
        return None
    same = {
        name: known[name].adapter
        for name in settings.runs
        if name in known and known[name].encoder == known[run].encoder and known[name].train_fraction == 1
    }
    plain = {
        name: adapter.context
        for name, adapter in same.items()
        if (adapter.kind, adapter.rank, adapter.targets) == ("lora", 8, "AF")
    }
    whole = [name for name, adapter in same.items() if adapter.kind == "full"]
    agnostic, specific = (
        [name for name in plain if plain[name] == context] for context in ("agnostic", "specific")
    )
    return next(iter([*whole, *agnostic, *specific]), None)


def add_reach(
    sheet: Sheet,
    trainings: Records,
    curves: Mapping[str, Mapping[int, Curve]],
    run: str,
    reference: str | None,
) -> None:
    """Perplexity to be reached, and steps, seconds and operations until the run's validation perplexity was there."""
    columns = (("steps to it", "steps", None), ("time to it (s)", "training_seconds", "training_seconds"),
               ("operations to it", "flops", "flops_per_token"))  # fmt: skip
    goals = curves.get(reference or "", {})
    if run not in trainings.runs:
        for column, metric in (
            ("perplexity to reach", "perplexity"),
            *((name, kind) for name, kind, _ in columns),
        ):
            sheet.add(run, column, metric, None, run=run, missing=f"record of {run}")
        return
    goal = {seed: curve.best for seed, curve in goals.items()}
    says = f"least validation perplexity of {reference}"
    if goal and reference is not None:
        measured = Measure(
            goal, None, 0, "validation", _files(trainings, reference), f"{says}, mean over seeds"
        )
        sheet.add(run, "perplexity to reach", "perplexity", measured, run=reference)
    else:
        sheet.say(run, "perplexity to reach", "perplexity", NOT_MEASURED, run=run)
    level = sum(goal.values()) / len(goal) if goal else None
    # The reference's seeds each have their own best, of which some lie above the mean.
    levels = {seed: goal[seed] if run == reference else level for seed in curves[run]}
    reached = {
        seed: None if (own := levels[seed]) is None else curve.first_below(own)
        for seed, curve in curves[run].items()
    }
    words = NOT_MEASURED if level is None or not curves[run] else NOT_REACHED
    complete = bool(reached) and None not in reached.values()
    for column, metric, key in columns:
        values = spend(trainings, run, reached, key) if complete else {}
        add_values(sheet, trainings, run, column, metric, values, f"until the {says}", words)


def spend(trainings: Records, run: str, steps: Mapping[int, int | None], key: str | None) -> Values:
    """What was spent until a step, by seed: steps, or of seconds and operations the step's share."""
    spent: Values = {}
    for seed, step in steps.items():
        facts = trainings.runs[run][seed][1]
        share = None if step is None else step / facts["steps"]
        if share is None or step is None:
            continue
        if key is None:
            spent[seed] = step
        elif (value := look_up(facts, key)) is not None:
            spent[seed] = share * value * (facts["tokens"] if key == "flops_per_token" else 1)
    return spent


def _files(records: Records, run: str) -> tuple[str, ...]:
    return tuple(path.with_name("metrics.jsonl").as_posix() for path, _ in records.runs.get(run, {}).values())

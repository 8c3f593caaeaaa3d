"""Hours of computing of a run: what it has used, what its plan predicts, and an estimate of what is left."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from preftune.workflow.resources import Forecast, Needs
from preftune.workflow.state import State, seconds_since


@dataclass(frozen=True)
class Hours:
    """Hours of GPUs, or of stages on a CPU where the plan asks for no GPU.

    Attributes:
        used: by every attempt whose end is known, and by what runs.
        predicted: of the whole plan, by its config.
        left: of what is not done, as predicted, but at the pace that the done stages of its rule had.
        busy: GPUs, or stages on a CPU, that work now.
    """

    used: float
    predicted: float
    left: float
    busy: int


def count_hours(state: State, forecast: Forecast) -> Hours:
    """Add up the stages that count: those that hold a GPU, or all where none does."""
    stages = [stage for stage, _ in state.done] + state.left
    needs = {stage.output: forecast.of(stage.job) for stage in stages}
    if forecast.config.training_gpus:
        needs = {output: need for output, need in needs.items() if need.gpus}
    taken = _add_taken(state, needs, forecast.config.steps_per_gpu)
    paces = _measure_paces(state, needs, taken)
    running = [stage.output for stage, _ in state.running if stage.output in needs]
    left = 0.0
    for stage in state.left:
        if stage.output in needs:
            hours = needs[stage.output].hours * paces.get(stage.job.rule, 1)
            # What failed may have to be done again.
            left += max(0.0, hours - taken[stage.output]) if stage.output in running else hours
    busy = sum(max(1, needs[output].gpus) for output in running)
    return Hours(sum(taken.values()), sum(need.hours for need in needs.values()), left, busy)


def _add_taken(state: State, needs: Mapping[str, Needs], shared: int) -> dict[str, float]:
    """Hours that each stage has held its GPUs, its part of one that so many share, or its place on the CPU, in all its attempts."""
    seconds = {output: _add_attempts(rows) for output, rows in state.attempts.items()}
    for stage, record in state.done:
        seconds[stage.output] = record["time"]["wall_seconds"] + _add_attempts(record["failed_attempts"])
    for stage, lease in state.running:
        seconds[stage.output] += seconds_since(lease.facts["started"])
    return {
        output: seconds[output] * need.gpus / shared / 3600 if need.gpus else seconds[output] / 3600
        for output, need in needs.items()
    }


def _add_attempts(rows: Iterable[Mapping[str, Any]]) -> float:
    """Seconds of failed attempts; of one that was killed nobody knows the end."""
    times = [
        (datetime.fromisoformat(row["start"]), datetime.fromisoformat(row["end"]))
        for row in rows
        if row["end"]
    ]
    return sum((end - start).total_seconds() for start, end in times)


def _measure_paces(state: State, needs: Mapping[str, Needs], taken: Mapping[str, float]) -> dict[str, float]:
    """What the done stages of each rule took, to what was predicted for them."""
    outputs: dict[str, list[str]] = {}
    for stage, _ in state.done:
        if stage.output in needs:
            outputs.setdefault(stage.job.rule, []).append(stage.output)
    return {
        rule: sum(taken[output] for output in own) / sum(needs[output].hours for output in own)
        for rule, own in outputs.items()
    }

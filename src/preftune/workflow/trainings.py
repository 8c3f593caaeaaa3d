"""How far a running training has come: by its metrics and checkpoints, which it does not notice."""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preftune.leases import Lease
from preftune.workflow.jobs import Job

_TAIL = 1 << 14
"""Bytes at the end of the metrics that hold the last row."""
_SILENCE = 60.0
"""Seconds without a step, and ten steps' time, after which a training is said to be silent."""


@dataclass(frozen=True)
class Progress:
    """How far a training has come.

    Attributes:
        step: its last step; 0 before the first.
        steps: their number.
        loss: of the last step; None where it was no number.
        left: seconds that the other steps will take, where that can be said.
        silent: seconds without a step, where they are unusually many.
    """

    step: int
    steps: int
    loss: float | None = None
    left: float | None = None
    silent: float | None = None


def read_progress(job: Job, lease: Lease) -> Progress | None:
    """How far the training that holds a lease has come; None for a step that trains nothing."""
    if not job.rule.startswith("train_"):
        return None
    steps, output = int(job.settings["training"]["steps"]), Path(lease.facts["output"])
    metrics = output.with_name(f".{lease.facts['pid']}.{output.name}") / "metrics.jsonl"
    try:
        row, written = _last_row(metrics)
        # The folder's own time is that of its newest file: the metrics, until the model is saved.
        began = metrics.parent.stat().st_mtime
        step, loss = row["step"], row["loss"]
        speed = _measure_speed(step, written, began, lease.facts["scratch"])
    except (OSError, ValueError, LookupError):
        return Progress(0, steps)
    if speed is None:
        return Progress(step, steps, loss)
    quiet = time.time() - written
    silent = quiet if step < steps and quiet > max(_SILENCE, 10 / speed) else None
    return Progress(step, steps, loss, (steps - step) / speed, silent)


def _last_row(path: Path) -> tuple[dict[str, Any], float]:
    """The last whole row and the time at which it was written; both by the clock of the file's disk."""
    with path.open("rb") as stream:
        stream.seek(max(0, os.fstat(stream.fileno()).st_size - _TAIL))
        rows = stream.read().split(b"\n")[:-1]
        return json.loads(rows[-1]), os.fstat(stream.fileno()).st_mtime


def _measure_speed(step: int, written: float, began: float, scratch: str | None) -> float | None:
    """Steps a second since this process began, or since the older one of its checkpoints."""
    folders = sorted(Path(scratch).glob("step-*")) if scratch else []
    kept = [(int(path.name.removeprefix("step-")), path.stat().st_mtime) for path in folders]
    first, start = 0, began
    if earlier := [done for done, saved in kept if saved < began]:
        first = earlier[-1]  # it went on from there
    elif len(kept) > 1:
        first, start = kept[0]  # that which it went on from may be deleted
    return (step - first) / (written - start) if written > start and step > first else None

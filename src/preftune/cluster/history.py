"""Whether a job that ended is tried again: as long as its attempts get further."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from preftune.cluster.outcomes import Outcome

FRUITLESS = 3
"""Attempts one after the other without a new checkpoint after which a job is given up."""


@dataclass(frozen=True)
class Verdict:
    """What happens to a job next."""

    gives_up: bool
    sentence: str


@dataclass
class _Tried:
    checkpoints: set[Path] = field(default_factory=set)
    fruitless: int = 0
    memory: int | None = None


class History:
    """What the attempts of each job have brought, since this run began."""

    def __init__(self) -> None:
        self._jobs: dict[Any, _Tried] = {}

    def judge(self, job: Any, outcome: Outcome, memory: int | None) -> Verdict:
        """Take one ended attempt into account that had `memory` MB.

        A new checkpoint is progress; so is memory that ran out, if the attempt had more than the one before it.
        """
        tried = self._jobs.setdefault(job, _Tried())
        grows = bool(outcome.starved) and memory != tried.memory
        further = bool(outcome.checkpoints - tried.checkpoints)
        tried.checkpoints |= outcome.checkpoints
        tried.memory = memory if outcome.starved else tried.memory
        tried.fruitless = 0 if grows or further else tried.fruitless + 1
        if tried.fruitless == FRUITLESS:
            return Verdict(
                True,
                f"it is given up after {FRUITLESS} attempts without a new checkpoint: mend the cause and start again",
            )
        newest = max(tried.checkpoints, key=lambda path: path.name, default=None)
        how = ", with twice the memory" if grows else f", from {newest.name}" if newest else ""
        return Verdict(False, f"it is submitted again{how}")

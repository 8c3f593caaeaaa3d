"""MNLI, matched and mismatched: does a hypothesis follow from a premise?"""

from dataclasses import dataclass
from typing import ClassVar

from preftune.data.tasks.base import Row, Task


@dataclass(frozen=True)
class Mnli(Task):
    """Columns premise, hypothesis, label (0 entailment, 1 neutral, 2 contradiction)."""

    labels: ClassVar[tuple[str, ...]] = ("True", "Neither", "False")

    def prompt(self, row: Row) -> str:
        return f"{row['premise']}\nHypothesis: {row['hypothesis']}\nTrue, False or Neither?"

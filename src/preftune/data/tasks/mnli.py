"""MNLI, matched and mismatched, and the diagnostic set AX: does a hypothesis follow from a premise?"""

from dataclasses import dataclass
from typing import ClassVar

from preftune.data.tasks.base import Task


@dataclass(frozen=True)
class Mnli(Task):
    """Columns premise, hypothesis, label (0 entailment, 1 neutral, 2 contradiction)."""

    templates: ClassVar[tuple[str, ...]] = ("mnli",)
    labels: ClassVar[int] = 3

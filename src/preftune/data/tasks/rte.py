"""RTE: does one text follow from another?"""

from dataclasses import dataclass
from typing import ClassVar

from preftune.data.tasks.base import Task


@dataclass(frozen=True)
class Rte(Task):
    """Columns sentence1, sentence2, label (0 entailment)."""

    templates: ClassVar[tuple[str, ...]] = ("rte",)
    labels: ClassVar[int] = 2

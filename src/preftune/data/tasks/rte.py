"""RTE: does one text follow from another?"""

from dataclasses import dataclass
from typing import ClassVar

from preftune.data.tasks.base import Row, Task


@dataclass(frozen=True)
class Rte(Task):
    """Columns sentence1, sentence2, label (0 entailment)."""

    labels: ClassVar[tuple[str, ...]] = ("yes", "no")

    def prompt(self, row: Row) -> str:
        return f"{row['sentence1']}\nDoes it follow that: {row['sentence2']}\nyes or no?"

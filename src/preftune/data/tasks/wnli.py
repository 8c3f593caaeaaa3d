"""WNLI: does a sentence with its pronoun resolved follow?"""

from dataclasses import dataclass
from typing import ClassVar

from preftune.data.tasks.base import Row, Task


@dataclass(frozen=True)
class Wnli(Task):
    """Columns sentence1, sentence2, label (1 entailment)."""

    labels: ClassVar[tuple[str, ...]] = ("no", "yes")

    def prompt(self, row: Row) -> str:
        return f"{row['sentence1']}\nDoes it follow that: {row['sentence2']}\nyes or no?"

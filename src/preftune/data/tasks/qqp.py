"""QQP: do two questions ask the same?"""

from dataclasses import dataclass
from typing import ClassVar

from preftune.data.tasks.base import Row, Task


@dataclass(frozen=True)
class Qqp(Task):
    """Columns question1, question2, label (1 duplicate)."""

    labels: ClassVar[tuple[str, ...]] = ("no", "yes")

    def prompt(self, row: Row) -> str:
        return f"1: {row['question1']}\n2: {row['question2']}\nDo both ask the same? yes or no?"

"""MRPC: do two sentences say the same?"""

from dataclasses import dataclass
from typing import ClassVar

from preftune.data.tasks.base import Row, Task


@dataclass(frozen=True)
class Mrpc(Task):
    """Columns sentence1, sentence2, label (1 paraphrase)."""

    labels: ClassVar[tuple[str, ...]] = ("no", "yes")

    def prompt(self, row: Row) -> str:
        return f"1: {row['sentence1']}\n2: {row['sentence2']}\nDo both mean the same? yes or no?"

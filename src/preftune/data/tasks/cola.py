"""CoLA: is a sentence acceptable English?"""

from dataclasses import dataclass
from typing import ClassVar

from preftune.data.tasks.base import Row, Task


@dataclass(frozen=True)
class Cola(Task):
    """Columns sentence, label (0 unacceptable, 1 acceptable)."""

    labels: ClassVar[tuple[str, ...]] = ("no", "yes")

    def prompt(self, row: Row) -> str:
        return f"Sentence: {row['sentence']}\nIs this sentence correct English? yes or no?"

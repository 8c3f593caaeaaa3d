"""MMLU: questions with four options; a training task only."""

from dataclasses import dataclass
from typing import ClassVar

from preftune.data.tasks.base import Row, Task


@dataclass(frozen=True)
class Mmlu(Task):
    """Columns question, choices (texts), answer (0 to 3)."""

    templates: ClassVar[tuple[str, ...]] = ("mmlu",)
    label_column: ClassVar[str] = "answer"

    def options(self, row: Row) -> list[str]:
        return list(row["choices"])

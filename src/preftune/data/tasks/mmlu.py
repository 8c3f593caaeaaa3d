"""MMLU: questions with four options; a training task only."""

from dataclasses import dataclass
from typing import ClassVar

from preftune.data.tasks.base import LETTERS, OptionTask, Row


@dataclass(frozen=True)
class Mmlu(OptionTask):
    """Columns question, choices (texts), answer (0 to 3)."""

    label_column: ClassVar[str] = "answer"

    def options(self, row: Row) -> tuple[list[str], list[str]]:
        texts = list(row["choices"])
        return list(LETTERS[: len(texts)]), texts

    def stem(self, row: Row) -> str:
        return f"Question: {row['question']}"

    def gold(self, row: Row) -> int:
        return self.label_number(row)

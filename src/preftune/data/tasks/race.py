"""RACE, middle and high: questions on a passage."""

from dataclasses import dataclass
from typing import ClassVar

from preftune.data.tasks.base import LETTERS, OptionTask, Row


@dataclass(frozen=True)
class Race(OptionTask):
    """Columns article, question, options (four texts), answer (a letter)."""

    label_column: ClassVar[str] = "answer"

    def options(self, row: Row) -> tuple[list[str], list[str]]:
        texts = list(row["options"])
        return list(LETTERS[: len(texts)]), texts

    def stem(self, row: Row) -> str:
        return f"{row['article']}\nQuestion: {row['question']}"

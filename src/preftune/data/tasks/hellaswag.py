"""HellaSwag: which ending continues a text, without and with the endings listed."""

from dataclasses import dataclass
from typing import ClassVar

from preftune.data.tasks.base import LETTERS, OptionTask, Row, Task


@dataclass(frozen=True)
class HellaSwag(Task):
    """Columns ctx, endings, label (an index, in the hub's files a string); the evaluation's form, endings
    not listed.
    """

    def prompt(self, row: Row) -> str:
        return f"Continue the text: {row['ctx']}"

    def candidates(self, row: Row) -> list[str]:
        return list(row["endings"])


@dataclass(frozen=True)
class HellaSwagChoice(OptionTask):
    """The same rows with the endings listed, a training task of its own in the paper's mixes."""

    label_column: ClassVar[str] = "label"

    def options(self, row: Row) -> tuple[list[str], list[str]]:
        texts = list(row["endings"])
        return list(LETTERS[: len(texts)]), texts

    def stem(self, row: Row) -> str:
        return f"Which ending continues the text? {row['ctx']}"

    def gold(self, row: Row) -> int:
        return self.label_number(row)

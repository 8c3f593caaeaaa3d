"""WinoGrande: which of two options fills the blank; a candidate is the option with the rest of the
sentence.
"""

from dataclasses import dataclass
from typing import ClassVar

from preftune.data.tasks.base import Row, Task


@dataclass(frozen=True)
class WinoGrande(Task):
    """Columns sentence (with one blank `_`), option1, option2, answer ("1" or "2")."""

    label_column: ClassVar[str] = "answer"

    def prompt(self, row: Row) -> str:
        return f"Continue the text: {self.halves(row)[0].strip()}"

    def candidates(self, row: Row) -> list[str]:
        rest = self.halves(row)[1]
        return [row["option1"] + rest, row["option2"] + rest]

    def gold(self, row: Row) -> int:
        return self.label_number(row) - 1

    def halves(self, row: Row) -> tuple[str, str]:
        """Return the sentence before and after its blank."""
        before, blank, after = row["sentence"].partition("_")
        if not blank:
            raise ValueError("the sentence has no blank '_': correct the row or take it out")
        return before, after

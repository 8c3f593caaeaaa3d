"""WinoGrande: which of two options fills the blank of a sentence."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from preftune.data.tasks.base import Row, Task


@dataclass(frozen=True)
class WinoGrande(Task):
    """Columns sentence (with one blank `_`, in templates `before` and `after` it), option1, option2, answer ("1" or "2")."""

    templates: ClassVar[tuple[str, ...]] = ("winogrande",)
    label_column: ClassVar[str] = "answer"

    def fields(self, row: Row) -> Mapping[str, Any]:
        before, blank, after = row["sentence"].partition("_")
        if not blank:
            raise ValueError("the sentence has no blank '_': correct the row or take it out")
        return {**row, "before": before, "after": after}

    def options(self, row: Row) -> list[str]:
        return [row["option1"], row["option2"]]

    def gold(self, row: Row) -> int:
        return self.label_number(row) - 1

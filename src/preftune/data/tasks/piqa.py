"""PIQA: which of two solutions reaches a goal."""

from dataclasses import dataclass
from typing import ClassVar

from preftune.data.tasks.base import Row, Task


@dataclass(frozen=True)
class Piqa(Task):
    """Columns goal, sol1, sol2, label (0 or 1)."""

    templates: ClassVar[tuple[str, ...]] = ("piqa",)

    def options(self, row: Row) -> list[str]:
        return [row["sol1"], row["sol2"]]

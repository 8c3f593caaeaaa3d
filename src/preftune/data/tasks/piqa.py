"""PIQA: which of two solutions reaches a goal."""

from dataclasses import dataclass

from preftune.data.tasks.base import Row, Task


@dataclass(frozen=True)
class Piqa(Task):
    """Columns goal, sol1, sol2, label (0 or 1)."""

    def options(self, row: Row) -> list[str]:
        return [row["sol1"], row["sol2"]]

"""Written preference pairs (UltraFeedback, Orca): which of two answers to a prompt is preferred."""

from dataclasses import dataclass
from typing import ClassVar

from preftune.data.tasks.base import Row, ShuffledTask


@dataclass(frozen=True)
class Pairs(ShuffledTask):
    """Columns prompt, chosen, rejected and, where messages stand before the prompt, opening; scored on held-out pairs, where
    the preferred answer is the gold one.
    """

    templates: ClassVar[tuple[str, ...]] = ("pairs",)

    def opening(self, row: Row) -> list[dict[str, str]]:
        return list(row.get("opening", []))

    def answers(self, row: Row) -> list[str]:
        return [row["chosen"], row["rejected"]]

"""STS-B: how similar two sentences are, as a choice of a whole number from 0 to 5."""

from dataclasses import dataclass
from typing import ClassVar

from preftune.data.tasks.base import Row, Task


@dataclass(frozen=True)
class Stsb(Task):
    """Columns sentence1, sentence2, label (a score from 0 to 5); the gold digit is the rounded score."""

    templates: ClassVar[tuple[str, ...]] = ("stsb",)
    labels: ClassVar[int] = 6

    def gold(self, row: Row) -> int:
        # Halves go up: Python's round would send 2.5 to 2 and 3.5 to 4.
        return int(self.score(row) + 0.5)

    def gold_value(self, row: Row) -> float | None:
        return self.score(row)

    def score(self, row: Row) -> float:
        """Return the similarity score; one outside 0 to 5 is a ValueError."""
        score = float(self.label_value(row))
        if not 0.0 <= score <= 5.0:
            raise ValueError(f"the score {score} is outside 0 to 5: correct the row or take it out")
        return score

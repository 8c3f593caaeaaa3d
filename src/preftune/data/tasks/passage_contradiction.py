"""Passage contradiction: of two statements, the one that a passage supports or the one that it contradicts.

MNLI's annotators wrote, for one and the same premise, a statement that follows from it and one that it rules out; the two are
the candidates. Unlike a yes/no question on a passage (BoolQ), whose gold answer may be "no" for want of support, the wrong
candidate is contradicted by definition. Annotators' habits (negations in contradictions) give a reader without the passage
more than half of MNLI's questions, so a system is to be compared with others, not with one half.
"""

from dataclasses import dataclass
from typing import ClassVar

from preftune.data.tasks.base import Row, ShuffledTask


@dataclass(frozen=True)
class PassageContradiction(ShuffledTask):
    """Columns passage, supported, contradicted."""

    templates: ClassVar[tuple[str, ...]] = ("passage-contradiction",)

    def answers(self, row: Row) -> list[str]:
        return [row["supported"], row["contradicted"]]

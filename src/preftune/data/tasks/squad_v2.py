"""SQuAD v2: a span of a passage or a word for "cannot be answered".

Trained on as one task; scored as two, so that wrong abstention and wrong answers are told apart.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from preftune.data.tasks.base import Row, ShuffledTask

UNANSWERABLE = "unanswerable"
SPAN_WORDS = 3


@dataclass(frozen=True)
class SquadV2(ShuffledTask):
    """Columns id, context, question, answers (text). An unanswerable row's negative is a seeded span of the
    passage.
    """

    templates: ClassVar[tuple[str, ...]] = ("squad-v2",)

    def fields(self, row: Row) -> Mapping[str, Any]:
        return {**row, "unanswerable": UNANSWERABLE}

    def answers(self, row: Row) -> list[str]:
        spans = list(dict.fromkeys(row["answers"]["text"]))
        if spans:
            # One gold span a row, drawn by the row's own id: the same in every run.
            return [random.Random(f"{row['id']}").choice(spans), UNANSWERABLE]
        return [UNANSWERABLE, passage_span(row["context"], str(row["id"]))]


@dataclass(frozen=True)
class SquadAnswerable(SquadV2):
    """The rows with an answer: a miss is a wrong abstention."""

    templates: ClassVar[tuple[str, ...]] = ("squad-answerable",)

    def belongs(self, row: Row) -> bool:
        return bool(row["answers"]["text"])


@dataclass(frozen=True)
class SquadUnanswerable(SquadV2):
    """The rows without an answer: a miss is an answer where none can be given."""

    templates: ClassVar[tuple[str, ...]] = ("squad-unanswerable",)

    def belongs(self, row: Row) -> bool:
        return not row["answers"]["text"]


def passage_span(passage: str, seed: str) -> str:
    """Return up to three consecutive words of `passage`, drawn from `seed`."""
    words = passage.split()
    if not words:
        raise ValueError("the passage is empty: correct the row or take it out")
    start = random.Random(seed).randrange(max(1, len(words) - SPAN_WORDS + 1))
    return " ".join(words[start : start + SPAN_WORDS]).strip(".,;:!?")

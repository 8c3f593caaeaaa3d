"""SQuAD v2: a span of a passage or a word for "cannot be answered"; a training task only."""

import random
from dataclasses import dataclass

from preftune.data.tasks.base import Row, Task

UNANSWERABLE = "unanswerable"
SPAN_WORDS = 3


@dataclass(frozen=True)
class SquadV2(Task):
    """Columns id, context, question, answers (text). An unanswerable row's negative is a seeded span of the
    passage.
    """

    def prompt(self, row: Row) -> str:
        return f"{row['context']}\nQuestion: {row['question']} If it has no answer, say {UNANSWERABLE}."

    def candidates(self, row: Row) -> list[str]:
        spans = list(dict.fromkeys(row["answers"]["text"]))
        if spans:
            # One gold span a row, drawn by the row's own id: the same in every run.
            return [random.Random(f"{row['id']}").choice(spans), UNANSWERABLE]
        return [UNANSWERABLE, passage_span(row["context"], str(row["id"]))]

    def gold(self, row: Row) -> int:
        return 0


def passage_span(passage: str, seed: str) -> str:
    """Return up to three consecutive words of `passage`, drawn from `seed`."""
    words = passage.split()
    if not words:
        raise ValueError("the passage is empty: correct the row or take it out")
    start = random.Random(seed).randrange(max(1, len(words) - SPAN_WORDS + 1))
    return " ".join(words[start : start + SPAN_WORDS]).strip(".,;:!?")

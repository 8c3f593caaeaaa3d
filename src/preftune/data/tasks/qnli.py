"""QNLI: does a sentence answer a question?"""

from dataclasses import dataclass
from typing import ClassVar

from preftune.data.tasks.base import Row, Task


@dataclass(frozen=True)
class Qnli(Task):
    """Columns question, sentence, label (0 entailment: it does)."""

    labels: ClassVar[tuple[str, ...]] = ("yes", "no")

    def prompt(self, row: Row) -> str:
        texts = f"Question: {row['question']}\nSentence: {row['sentence']}"
        return f"{texts}\nDoes it answer the question? yes or no?"

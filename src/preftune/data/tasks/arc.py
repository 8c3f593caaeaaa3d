"""ARC, easy and challenge: science questions with three to five options."""

from dataclasses import dataclass

from preftune.data.tasks.base import OptionTask, Row


@dataclass(frozen=True)
class Arc(OptionTask):
    """Columns question, choices (text, label: letters or digits), answerKey."""

    def stem(self, row: Row) -> str:
        return f"Question: {row['question']}"

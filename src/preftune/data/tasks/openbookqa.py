"""OpenBookQA: a stem to complete by one of four options."""

from dataclasses import dataclass

from preftune.data.tasks.base import OptionTask, Row


@dataclass(frozen=True)
class OpenBookQa(OptionTask):
    """Columns question_stem, choices (text, label), answerKey."""

    def stem(self, row: Row) -> str:
        return f"Question: {row['question_stem']}"

"""What every task has in common: from a row in the hub's columns to a question with candidates and a gold
answer.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar

from preftune.errors import PreftuneError

Row = Mapping[str, Any]
LETTERS = "ABCDE"


@dataclass(frozen=True)
class Question:
    """One item: the prompt, its candidate answers and the index of the gold one (`gold_value`: a score,
    STS-B).
    """

    document: str
    task: str
    messages: list[dict[str, str]]
    candidates: list[str]
    gold: int
    gold_value: float | None = None


@dataclass(frozen=True)
class Task(ABC):
    """A benchmark task; a subclass words the prompt, lists the candidates and finds the gold one.

    `split` is the evaluation split of the prepared data set, `mixes` the training mixes that take the train
    split, and
    tasks of one `group` count as one task in a mix (RACE middle and high).
    """

    name: str
    suite: str
    dataset: str
    split: str
    metrics: tuple[str, ...]
    mixes: tuple[str, ...] = ()
    group: str = ""

    label_column: ClassVar[str] = "label"
    labels: ClassVar[tuple[str, ...]] = ()

    def question(self, row: Row, index: int) -> Question:
        """Return the question of `row`; a missing column or label and a label out of range are
        PreftuneErrors.
        """
        try:
            candidates = self.candidates(row)
            prompt = self.prompt(row)
            gold = self.gold(row)
        except KeyError as missing:
            raise PreftuneError(
                f"{self.where(row, index)} has no column {missing.args[0]!r}: prepare the data set again "
                "from files in the hub's own column names."
            ) from missing
        except (ValueError, TypeError) as error:
            raise PreftuneError(f"{self.where(row, index)}: {error}.") from error
        if not 0 <= gold < len(candidates):
            raise PreftuneError(
                f"{self.where(row, index)} has the label {row[self.label_column]!r}, outside its range of "
                f"{len(candidates)} answers: correct the row or take it out."
            )
        return Question(
            document=self.document(row, index),
            task=self.name,
            messages=[*self.opening(row), {"role": "user", "content": prompt}],
            candidates=candidates,
            gold=gold,
            gold_value=self.gold_value(row),
        )

    def questions(self, rows: Iterable[Row], limit: int | None = None) -> list[Question]:
        """Return the questions of the first `limit` rows that belong to the task; none at all is a PreftuneError."""
        belonging = ((index, row) for index, row in enumerate(rows) if self.belongs(row))
        found = [self.question(row, index) for index, row in islice(belonging, limit)]
        if not found:
            raise PreftuneError(
                f"task {self.name}: no row of the split {self.split} of data set {self.dataset} belongs to it: raise "
                "limit_evaluation or take the task out."
            )
        return found

    def belongs(self, row: Row) -> bool:
        """Return whether a row of the data set is a question of this task."""
        return True

    def document(self, row: Row, index: int) -> str:
        """Return the item's name: the prepared row's own (split and source row), else its position."""
        return str(row.get("document", f"row-{index}"))

    def where(self, row: Row, index: int) -> str:
        """Return the place of a row for an error message."""
        return f"task {self.name}: row {index} ({self.document(row, index)}) of data set {self.dataset}"

    @abstractmethod
    def prompt(self, row: Row) -> str:
        """Return the user message."""

    def opening(self, row: Row) -> list[dict[str, str]]:
        """Return the messages before it."""
        return []

    def candidates(self, row: Row) -> list[str]:
        """Return the candidate answers, in the order of the labels."""
        return list(self.labels)

    def gold(self, row: Row) -> int:
        """Return the index of the gold candidate."""
        return self.label_number(row)

    def gold_value(self, row: Row) -> float | None:
        """Return the gold score of a regression task, else None."""
        return None

    def label_value(self, row: Row) -> Any:
        """Return the row's label; an unlabelled row (null, empty or -1) is a ValueError."""
        value = row[self.label_column]
        if value is None or str(value).strip() in ("", "-1", "-1.0", "nan"):
            raise ValueError("the row has no label: use a labelled split or take the row out")
        return value

    def label_number(self, row: Row) -> int:
        """Return the row's label as a whole number, which some files hold as a string."""
        value = self.label_value(row)
        try:
            return int(value)
        except ValueError:
            raise ValueError(
                f"the label {value!r} is not a whole number: correct the row or take it out"
            ) from None


@dataclass(frozen=True)
class ShuffledTask(Task):
    """A task whose rows name the right answer first, or in no order.

    The candidates' order is drawn from the name of the row's document: the same in every run, and the first candidate,
    which wins a tie, is right no more often than any other.
    """

    @abstractmethod
    def answers(self, row: Row) -> list[str]:
        """Return the answers, the right one first."""

    def candidates(self, row: Row) -> list[str]:
        answers = self.answers(row)
        return [answers[place] for place in self.order(row, len(answers))]

    def gold(self, row: Row) -> int:
        return self.order(row, len(self.answers(row))).index(0)

    def order(self, row: Row, count: int) -> list[int]:
        """Return a permutation of `count` places."""
        return random.Random(f"{self.name}/{row['document']}").sample(range(count), count)


@dataclass(frozen=True)
class OptionTask(Task):
    """A question with lettered options, answered by "A. text" (DPH code, multiple choice tasks)."""

    label_column: ClassVar[str] = "answerKey"

    def options(self, row: Row) -> tuple[list[str], list[str]]:
        """Return the option letters and texts, as the row gives them."""
        choices = row["choices"]
        return [str(letter) for letter in choices["label"]], list(choices["text"])

    @abstractmethod
    def stem(self, row: Row) -> str:
        """Return what stands before the list of options."""

    def candidates(self, row: Row) -> list[str]:
        letters, texts = self.options(row)
        if len(letters) != len(texts) or not texts:
            raise ValueError(f"{len(letters)} option letters for {len(texts)} options: correct the row")
        return [f"{letter}. {text}" for letter, text in zip(letters, texts, strict=True)]

    def prompt(self, row: Row) -> str:
        return "\n".join([self.stem(row), *self.candidates(row)])

    def gold(self, row: Row) -> int:
        letters, _ = self.options(row)
        answer = str(self.label_value(row))
        if answer not in letters:
            raise ValueError(
                f"the answer {answer!r} is none of the options {', '.join(letters)}: correct the row"
            )
        return letters.index(answer)

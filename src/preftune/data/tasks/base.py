"""What every task has in common: from a row in the hub's columns to a question with candidates and a gold
answer. The words come from a template set (`preftune.data.templates`).
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar

from jinja2 import TemplateError

from preftune.data.templates import LETTERS, Template
from preftune.errors import PreftuneError

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Question:
    """One item: the prompt, its candidate answers and the index of the gold one (`gold_value`: a score,
    STS-B; None where the labels are hidden).

    A chat is asked as `messages`. A plain text is asked as `contexts`, one for all candidates or one each, which a candidate
    continues after `delimiter`. `leading_eos`: a chat is read behind the tokenizer's end-of-sequence token.
    """

    document: str
    task: str
    messages: list[dict[str, str]]
    candidates: list[str]
    gold: int | None
    gold_value: float | None = None
    contexts: tuple[str, ...] = ()
    delimiter: str = ""
    leading_eos: bool = False

    @property
    def answer(self) -> str:
        """The gold candidate; a question whose label is hidden is a PreftuneError."""
        if self.gold is None:
            raise PreftuneError(
                f"task {self.task}: the label of {self.document} is hidden: use a labelled split."
            )
        return self.candidates[self.gold]


@dataclass(frozen=True)
class Task(ABC):
    """A benchmark task; a subclass names the columns, lists the options and finds the gold one.

    `split` is the evaluation split of the prepared data set, `mixes` the training mixes that take the train
    split, and tasks of one `group` count as one task in a mix (RACE middle and high). A task without metrics has hidden
    labels (the GLUE server's splits).
    """

    name: str
    suite: str
    dataset: str
    split: str
    metrics: tuple[str, ...]
    template: Template
    mixes: tuple[str, ...] = ()
    group: str = ""

    # The wordings of a template set that ask this kind of row.
    templates: ClassVar[tuple[str, ...]] = ()
    label_column: ClassVar[str] = "label"
    # Labels 0 to n - 1, for which the template has a word each; 0 where the options stand in the row.
    labels: ClassVar[int] = 0

    def question(self, row: Row, index: int) -> Question:
        """Return the question of `row`; a missing column or label and a label out of range are
        PreftuneErrors.
        """
        try:
            asked = self.template.ask(self.fields(row), self.options(row), self.letters(row))
            gold = self.gold(row) if self.metrics else None
            gold_value = self.gold_value(row) if self.metrics else None
        except KeyError as missing:
            raise PreftuneError(
                f"{self.where(row, index)} has no column {missing.args[0]!r}: prepare the data set again "
                "from files in the hub's own column names."
            ) from missing
        except TemplateError as error:
            raise PreftuneError(
                f"{self.where(row, index)}: the wording of the template set {self.template.set_name} fails: {error}: correct it."
            ) from error
        except (ValueError, TypeError) as error:
            raise PreftuneError(f"{self.where(row, index)}: {error}.") from error
        if gold is not None and not 0 <= gold < len(asked.candidates):
            raise PreftuneError(
                f"{self.where(row, index)} has the label {row[self.label_column]!r}, outside its range of "
                f"{len(asked.candidates)} answers: correct the row or take it out."
            )
        return Question(
            document=self.document(row, index),
            task=self.name,
            messages=[*self.opening(row), *asked.messages],
            candidates=asked.candidates,
            gold=gold,
            gold_value=gold_value,
            contexts=asked.contexts,
            delimiter=self.template.delimiter,
            leading_eos=self.template.leading_eos,
        )

    def questions(self, rows: Iterable[Row], limit: int | None = None) -> list[Question]:
        """Return the questions of the first `limit` rows that belong to the task; none at all, and two of one name, are
        PreftuneErrors.
        """
        belonging = ((index, row) for index, row in enumerate(self.arrange(rows)) if self.belongs(row))
        found = [self.question(row, index) for index, row in islice(belonging, limit)]
        if not found:
            raise PreftuneError(
                f"task {self.name}: no row of the split {self.split} of data set {self.dataset} belongs to it: raise "
                "limit_evaluation or take the task out."
            )
        seen: set[str] = set()
        for question in found:
            if question.document in seen:
                raise PreftuneError(
                    f"task {self.name}: two rows of data set {self.dataset} are named {question.document}: take one out."
                )
            seen.add(question.document)
        return found

    def arrange(self, rows: Iterable[Row]) -> Iterable[Row]:
        """Return the rows that questions are made of."""
        return rows

    def belongs(self, row: Row) -> bool:
        """Return whether a row of the data set is a question of this task."""
        return True

    def document(self, row: Row, index: int) -> str:
        """Return the item's name: the prepared row's own (split and source row), else its position."""
        return str(row.get("document", f"row-{index}"))

    def where(self, row: Row, index: int) -> str:
        """Return the place of a row for an error message."""
        return f"task {self.name}: row {index} ({self.document(row, index)}) of data set {self.dataset}"

    def fields(self, row: Row) -> Mapping[str, Any]:
        """Return what templates may name: the row's columns, and what a task makes of them."""
        return row

    def options(self, row: Row) -> Sequence[str]:
        """Return the texts of the options, in the order of the labels; none where the template words the labels."""
        return ()

    def letters(self, row: Row) -> Sequence[str]:
        """Return the options' letters."""
        return LETTERS[: len(self.options(row))]

    def opening(self, row: Row) -> list[dict[str, str]]:
        """Return the row's own messages before the prompt."""
        return []

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

    def options(self, row: Row) -> list[str]:
        answers = self.answers(row)
        return [answers[place] for place in self.order(row, len(answers))]

    def gold(self, row: Row) -> int:
        return self.order(row, len(self.answers(row))).index(0)

    def order(self, row: Row, count: int) -> list[int]:
        """Return a permutation of `count` places."""
        return random.Random(f"{self.name}/{row['document']}").sample(range(count), count)


@dataclass(frozen=True)
class ChoicesTask(Task):
    """Columns choices (text, label: letters or digits) and answerKey."""

    label_column: ClassVar[str] = "answerKey"

    def options(self, row: Row) -> list[str]:
        letters, texts = self.letters(row), list(row["choices"]["text"])
        if len(letters) != len(texts) or not texts:
            raise ValueError(f"{len(letters)} option letters for {len(texts)} options: correct the row")
        return texts

    def letters(self, row: Row) -> list[str]:
        return [str(letter) for letter in row["choices"]["label"]]

    def gold(self, row: Row) -> int:
        letters, answer = self.letters(row), str(self.label_value(row))
        return find_letter(answer, letters)


def find_letter(answer: str, letters: Sequence[str]) -> int:
    """Return the place of the gold answer's letter; another letter is a ValueError."""
    if answer not in letters:
        raise ValueError(
            f"the answer {answer!r} is none of the options {', '.join(letters)}: correct the row"
        )
    return letters.index(answer)

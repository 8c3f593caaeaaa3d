"""How far the questions of the evaluation stand among the training questions of the mixes' tasks."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from preftune.data.prepared import open_split
from preftune.data.tasks.base import Question, Task
from preftune.data.texts import fold_text

NGRAM_WORDS = 13


@dataclass(frozen=True)
class Prints:
    """Hashes of a question's folded prompt, of prompt and gold answer, and of the prompt's 13-word n-grams."""

    prompt: int
    prompt_and_answer: int
    ngrams: frozenset[int]

    def all(self) -> set[int]:
        """Return every hash."""
        return {self.prompt, self.prompt_and_answer, *self.ngrams}


def print_question(question: Question) -> Prints:
    """Return the hashes of a question; a prompt of fewer than 13 words has no n-gram.

    Texts are folded: lower case, without punctuation, white space or line breaks. The prompt is the whole user message with
    the listed options; the template's own words are too few for an n-gram.
    """
    prompt = fold_text("\n".join(message["content"] for message in question.messages))
    answer = fold_text(question.answer)
    words = prompt.split()
    starts = range(len(words) - NGRAM_WORDS + 1)
    ngrams = frozenset(_hash("words", " ".join(words[start : start + NGRAM_WORDS])) for start in starts)
    return Prints(_hash("prompt", prompt), _hash("answered", f"{prompt}\n{answer}"), ngrams)


def _hash(kind: str, text: str) -> int:
    """Eight bytes; `kind` keeps an n-gram apart from a prompt of 13 words."""
    return int.from_bytes(hashlib.blake2b(f"{kind}:{text}".encode(), digest_size=8).digest())


def count_overlap(
    evaluation: Mapping[str, Sequence[Question]], training: Iterable[Question]
) -> dict[str, dict[str, int]]:
    """Return, for each task, how many of its questions share something with any training question.

    Keys: questions (all of them), same_prompt, same_prompt_and_answer, ngram_questions (those that have 13 words) and
    shared_ngrams (those one of whose 13-word n-grams occurs in training). Training questions are read once and none is kept,
    so that memory depends on the evaluation alone.
    """
    prints = {task: [print_question(question) for question in items] for task, items in evaluation.items()}
    asked = set[int]().union(*(each.all() for items in prints.values() for each in items))
    trained = set[int]()
    for question in training:
        trained |= asked & print_question(question).all()
    return {
        task: {
            "questions": len(items),
            "same_prompt": sum(each.prompt in trained for each in items),
            "same_prompt_and_answer": sum(each.prompt_and_answer in trained for each in items),
            "ngram_questions": sum(bool(each.ngrams) for each in items),
            "shared_ngrams": sum(not trained.isdisjoint(each.ngrams) for each in items),
        }
        for task, items in prints.items()
    }


def read_training(tasks: Iterable[Task], folders: Mapping[str, Path]) -> Iterator[Question]:
    """Yield every question of the tasks' training splits."""
    for task in tasks:
        for index, row in enumerate(open_split(task.dataset, "train", folders, f"the task {task.name}")):
            yield task.question(row, index)


def read_evaluation(
    tasks: Iterable[Task], folders: Mapping[str, Path], limit: int | None
) -> dict[str, list[Question]]:
    """Return the questions that each task is scored on."""
    return {
        task.name: task.questions(
            open_split(task.dataset, task.split, folders, f"the task {task.name}"), limit
        )
        for task in tasks
    }

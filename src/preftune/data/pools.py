"""Pools of a training mix: the rows of each task (or data set of dialogues) in words, read in a seeded order and cycled."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset

from preftune.data.arrow import MappedRows
from preftune.data.prepared import open_split
from preftune.data.tasks.base import Task
from preftune.data.tasks.registry import TASKS_FILE, find_tasks, read_rows
from preftune.data.templates import read_templates
from preftune.errors import PreftuneError
from preftune.names import nearest

DIALOGUE_COLUMNS = ("prompt", "response")
AHEAD = 64
"""Items of a pool that are read and tokenised together, once as few are left of those before."""


@dataclass(frozen=True)
class Draft:
    """One training item in words: the right answer and all wrong ones (none in a dialogue)."""

    document: str
    task: str
    messages: list[dict[str, str]]
    positive: str
    negatives: list[str]

    def texts(self) -> list[str]:
        """Return every text that is tokenised."""
        return [*(message["content"] for message in self.messages), self.positive, *self.negatives]


Word = Callable[[Mapping[str, Any], int], Draft]
Ahead = Callable[[Sequence[str]], None]


class Drafts:
    """The items of a pool, in words; rows are read and worded when they are asked for."""

    def __init__(self) -> None:
        self._parts: list[tuple[range, MappedRows, Word]] = []

    def add(self, rows: Dataset, word: Word) -> None:
        """Append the items that `word` makes of the rows and their numbers."""
        mapped, start = MappedRows(rows), len(self)
        self._parts.append((range(start, start + len(mapped)), mapped, word))

    def __len__(self) -> int:
        return self._parts[-1][0].stop if self._parts else 0

    def read(self, places: Sequence[int]) -> list[Draft]:
        """Return the items at these places."""
        found: dict[int, Draft] = {}
        for span, rows, word in self._parts:
            here = [place for place in places if place in span]
            if here:
                numbers = [place - span.start for place in here]
                drafts = map(word, rows.take(numbers), numbers)
                found.update(zip(here, drafts, strict=True))
        return [found[place] for place in places]


@dataclass
class Pool:
    """All rows of one task group, read in a seeded order that is cycled; `cycle` counts the passes."""

    name: str
    drafts: Drafts = field(default_factory=Drafts)
    order: list[int] = field(default_factory=list)
    cycle: int = -1
    _ready: dict[int, Draft] = field(default_factory=dict)

    def next(self, rng: random.Random, ahead: Ahead) -> Draft:
        """Return the next item; those that follow are read in groups, and their texts told to `ahead`."""
        if not self.order:
            self.order = rng.sample(range(len(self.drafts)), len(self.drafts))
            self.cycle += 1
        unread = len(self.order) - len(self._ready)  # what is ready comes last in the order
        if unread and len(self._ready) <= AHEAD:
            places = self.order[max(0, unread - AHEAD) : unread]
            drafts = self.drafts.read(places)
            self._ready.update(zip(places, drafts, strict=True))
            ahead([text for draft in drafts for text in draft.texts()])
        return self._ready.pop(self.order.pop())


def word_question(task: Task, row: Mapping[str, Any], index: int) -> Draft:
    """Return the item of a row of a task's train split."""
    question = task.question(row, index)
    others = [text for place, text in enumerate(question.candidates) if place != question.gold]
    return Draft(question.document, task.name, question.messages, question.answer, others)


def word_dialogue(name: str, row: Mapping[str, Any], index: int) -> Draft:
    """Return the item of a row of a data set of dialogues."""
    messages = [*row.get("opening", []), {"role": "user", "content": row["prompt"]}]
    return Draft(row["document"], name, messages, row["response"], [])


def open_dialogues(name: str, folders: Mapping[str, Path]) -> Dataset:
    """Return the training rows of a data set of dialogues."""
    rows = open_split(name, "train", folders, name)
    missing = [column for column in DIALOGUE_COLUMNS if column not in rows.column_names]
    if missing:
        raise PreftuneError(
            f"{folders[name]} lacks the columns {', '.join(missing)} of a data set of dialogues: "
            f"take {name} out of the mix's tasks."
        )
    return rows


def collect_pools(
    names: Sequence[str],
    folders: Mapping[str, Path],
    mix: str,
    templates: str = "chat",
    tasks_file: Path = TASKS_FILE,
) -> list[Pool]:
    """Return the pools of a mix ("sft" or "preference"); `names` are tasks, or for SFT also data sets of dialogues.

    The template set that words them must be of chats: a text has no `<|im_end|>` to learn.
    """
    if read_templates(templates).content.format != "chat":
        raise PreftuneError(f"the template set {templates} is of plain texts: train with one of chats.")
    known = read_rows(tasks_file)
    tasks = {
        task.name: task
        for task in find_tasks([name for name in names if name in known], templates, tasks_file)
    }
    pools: dict[str, Pool] = {}
    for name in names:
        if name in tasks:
            task = tasks[name]
            if mix not in task.mixes:
                raise PreftuneError(
                    f"the task {name} is not trained on in the {mix} mix ({tasks_file}): take it out of the mix's tasks."
                )
            rows = open_split(task.dataset, "train", folders, f"the task {name}")
            pools.setdefault(task.group, Pool(task.group)).drafts.add(rows, partial(word_question, task))
        elif name not in folders:
            raise PreftuneError(
                f"{name!r} is neither a task of {tasks_file} nor a prepared data set: "
                f"{nearest(name, [*known, *folders])}."
            )
        elif mix == "sft":
            pools[name] = Pool(name)
            pools[name].drafts.add(open_dialogues(name, folders), partial(word_dialogue, name))
        else:
            raise PreftuneError(
                f"the data set {name} is no task of {tasks_file}, so it has no wrong answers: "
                "take it out of the preference mix's tasks."
            )
    return list(pools.values())

"""Pools of a training mix: the rows of each task (or data set of dialogues) in words, read in a seeded order and cycled."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datasets import Dataset

from preftune.data.prepared import open_split
from preftune.data.tasks.base import Task
from preftune.data.tasks.registry import TASKS_FILE, find_tasks, read_rows
from preftune.data.templates import read_templates
from preftune.errors import PreftuneError
from preftune.names import nearest

DIALOGUE_COLUMNS = ("prompt", "response")


@dataclass(frozen=True)
class Draft:
    """One training item in words: the right answer and all wrong ones (none in a dialogue)."""

    document: str
    task: str
    messages: list[dict[str, str]]
    positive: str
    negatives: list[str]


@dataclass
class Pool:
    """All rows of one task group, read in a seeded order that is cycled; `cycle` counts the passes."""

    name: str
    drafts: list[Callable[[], Draft]]
    order: list[int] = field(default_factory=list)
    cycle: int = -1

    def next(self, rng: random.Random) -> Draft:
        """Return the next item."""
        if not self.order:
            self.order = rng.sample(range(len(self.drafts)), len(self.drafts))
            self.cycle += 1
        return self.drafts[self.order.pop()]()


def task_drafts(task: Task, rows: Dataset) -> Iterator[Callable[[], Draft]]:
    """Yield a draft maker for each row of a task's train split."""

    def make(index: int) -> Draft:
        question = task.question(rows[index], index)
        others = [text for place, text in enumerate(question.candidates) if place != question.gold]
        return Draft(question.document, task.name, question.messages, question.answer, others)

    for index in range(len(rows)):
        yield lambda index=index: make(index)  # type: ignore[misc]


def dialogue_drafts(name: str, folders: Mapping[str, Path]) -> Iterator[Callable[[], Draft]]:
    """Yield a draft maker for each row of a data set of dialogues."""
    rows = open_split(name, "train", folders, name)
    missing = [column for column in DIALOGUE_COLUMNS if column not in rows.column_names]
    if missing:
        raise PreftuneError(
            f"{folders[name]} lacks the columns {', '.join(missing)} of a data set of dialogues: "
            f"take {name} out of the mix's tasks."
        )

    def make(index: int) -> Draft:
        row = rows[index]
        return Draft(row["document"], name, [{"role": "user", "content": row["prompt"]}], row["response"], [])

    for index in range(len(rows)):
        yield lambda index=index: make(index)  # type: ignore[misc]


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
            pools.setdefault(task.group, Pool(task.group, [])).drafts.extend(task_drafts(task, rows))
        elif name not in folders:
            raise PreftuneError(
                f"{name!r} is neither a task of {tasks_file} nor a prepared data set: "
                f"{nearest(name, [*known, *folders])}."
            )
        elif mix == "sft":
            pools[name] = Pool(name, list(dialogue_drafts(name, folders)))
        else:
            raise PreftuneError(
                f"the data set {name} is no task of {tasks_file}, so it has no wrong answers: "
                "take it out of the preference mix's tasks."
            )
    return list(pools.values())

"""Held-out answers and prompts of prepared data sets: what a language model is compared on before and after
its alignment.

What does not fit into the model's context is passed over: runs of one base model see the same items.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, zip_longest
from pathlib import Path
from typing import TypeVar

from preftune.data.chat import encode_prompt
from preftune.data.prepared import open_column
from preftune.data.tasks.base import Task
from preftune.errors import PreftuneError
from preftune.evaluation.scoring import encode_question, read_questions
from preftune.preference.generation import Conversation, leaves_room
from preftune.preference.heads import PreferenceModel
from preftune.training.trees import Tree

T = TypeVar("T")


def read_answers(
    model: PreferenceModel, tasks: Sequence[Task], folders: Sequence[Path], count: int
) -> list[Tree]:
    """The gold answers, with `<|im_end|>`, to `count` evaluation questions, equally many of each task that has them."""
    share = math.ceil(count / len(tasks))
    by_task = []
    for task in tasks:
        trees = []
        for question in read_questions(task, folders, share):
            (tree,) = encode_question(model, question)
            name = f"{task.name}/{question.document}"
            trees.append(
                replace(
                    tree, name=name, branches=(tree.branches[question.candidates.index(question.answer)],)
                )
            )
        by_task.append(trees)
    dealt = [tree for tree in chain(*zip_longest(*by_task)) if tree is not None]
    return _some([tree for tree in dealt if tree.longest <= model.reader.context][:count], "answer")


def read_prompts(
    model: PreferenceModel, dataset: str, folders: Sequence[Path], count: int, room: int
) -> dict[str, Conversation]:
    """The first `count` distinct prompts (column `prompt` of the validation split) with `room` left for an answer, by
    document.
    """
    found: dict[str, Conversation] = {}
    seen: set[str] = set()
    for place, row in enumerate(
        open_column(dataset, "validation", "prompt", folders, "the measurement of drift")
    ):
        messages = [{"role": "user", "content": row["prompt"]}]
        fits = leaves_room(model, encode_prompt(model.tokenizer, messages), room)
        if fits and row["prompt"] not in seen and len(found) < count:
            seen.add(row["prompt"])
            found[str(row.get("document", f"row-{place}"))] = messages
    _some(list(found), "prompt")
    return found


def _some(items: list[T], what: str) -> list[T]:
    if not items:
        raise PreftuneError(
            f"no held-out {what} fits into the model's context; raise limit_evaluation, or name another data set."
        )
    return items

"""Held-out answers, passages and prompts of prepared data sets: what a language model is compared on before and after
its alignment.

What does not fit into the model's context is passed over: runs of one base model see the same items.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import TypeVar

from datasets import Dataset

from preftune.data.chat import encode_prompt
from preftune.data.prepared import open_split
from preftune.data.tasks.base import Task
from preftune.errors import PreftuneError
from preftune.evaluation.scoring import encode_question, read_questions
from preftune.preference.generation import Conversation, leaves_room
from preftune.preference.heads import PreferenceModel
from preftune.training.trees import Tree

T = TypeVar("T")


def _open_column(dataset: str, split: str, column: str, folders: Sequence[Path]) -> Dataset:
    """A split of the prepared data set whose folder is named `dataset`, if it has `column`."""
    rows = open_split(
        dataset, split, {Path(folder).name: Path(folder) for folder in folders}, "the measurement of drift"
    )
    if column not in rows.column_names:
        raise PreftuneError(f"the data set {dataset} has no column '{column}'; name another data set.")
    return rows


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


def read_texts(
    model: PreferenceModel, dataset: str, split: str, folders: Sequence[Path], count: int, tokens: int
) -> list[Tree]:
    """The first `count` distinct passages (column `article` of the split), each cut to `tokens` tokens.

    Without chat template: the passage's first token is the prompt, the rest of it the branch.
    """
    names: dict[str, str] = {}
    for place, row in enumerate(_open_column(dataset, split, "article", folders)):
        names.setdefault(row["article"], str(row.get("document", f"row-{place}")))
    length = min(tokens, model.reader.context)
    encoded = (
        (name, model.tokenizer.encode(text, add_special_tokens=False)[:length])
        for text, name in names.items()
    )
    trees = (Tree(name, ids[:1], (ids[1:],)) for name, ids in encoded if len(ids) > 1)
    return _some(list(islice(trees, count)), "passage")


def read_prompts(
    model: PreferenceModel, dataset: str, folders: Sequence[Path], count: int, room: int
) -> dict[str, Conversation]:
    """The first `count` distinct prompts (column `prompt` of the validation split) with `room` left for an answer, by
    document.
    """
    found: dict[str, Conversation] = {}
    seen: set[str] = set()
    for place, row in enumerate(_open_column(dataset, "validation", "prompt", folders)):
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

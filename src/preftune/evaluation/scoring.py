"""Scores of every candidate of every question: log-probability and reward from one forward pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from datasets import load_from_disk
from torch import Tensor

from preftune.data.chat import encode_completion, encode_prompt
from preftune.data.tasks.base import Question, Task
from preftune.errors import PreftuneError
from preftune.preference.heads import PreferenceModel
from preftune.preference.scoring import score_trees
from preftune.training.trees import Tree, fit_to_context


def read_questions(task: Task, folders: Sequence[Path], limit: int | None) -> list[Question]:
    """The first `limit` questions of the task in its split; its folder is the one named as its data set."""
    folder = next((folder for folder in folders if Path(folder).name == task.dataset), None)
    if folder is None:
        raise PreftuneError(
            f"task {task.name} needs the data set '{task.dataset}'; pass its folder with --datasets."
        )
    try:
        splits = load_from_disk(str(folder))
    except (FileNotFoundError, ValueError) as error:
        raise PreftuneError(
            f"{folder} is not a prepared data set ({error}); run the step that prepares it."
        ) from error
    if task.split not in splits:
        raise PreftuneError(
            f"{folder} has no split '{task.split}', which task {task.name} is scored on; "
            f"it has {', '.join(splits)}."
        )
    return task.questions(splits[task.split], limit)


def encode_question(model: PreferenceModel, question: Question) -> Tree:
    """The question as prompt, each candidate with `<|im_end|>` as a branch."""
    tokenizer = model.tokenizer
    branches = tuple(encode_completion(tokenizer, text) for text in question.candidates)
    if min(map(len, branches)) < 2:  # <|im_end|> alone
        raise PreftuneError(
            f"example {question.document}: a branch is empty; repair or drop this row of the data."
        )
    return Tree(question.document, encode_prompt(tokenizer, question.messages), branches)


@dataclass(frozen=True)
class Encoded:
    """A task's questions that fit into the model's context and their trees, in order; how many prompts were cut for it
    (`truncated`) and how many questions were left out (`skipped`).
    """

    questions: list[Question]
    trees: list[Tree]
    truncated: int = 0
    skipped: int = 0


def encode_questions(
    model: PreferenceModel,
    questions: Sequence[Question],
    long: Literal["refuse", "truncate", "skip"] = "refuse",
) -> Encoded:
    """The questions as trees; `long` says what becomes of one whose longest path exceeds the model's context.

    Raises:
        PreftuneError: one is too long and `long` refuses, or no question is left.
    """
    context = model.reader.context
    trees = [encode_question(model, question) for question in questions]
    if long != "skip":
        fitted, truncated = fit_to_context(trees, context, long)
        return Encoded(list(questions), fitted, truncated=truncated)
    kept = [place for place, tree in enumerate(trees) if tree.longest <= context]
    if not kept:
        raise PreftuneError(
            f"no question of {questions[0].task} fits into the model's context of {context} tokens: take it out of the tasks."
        )
    return Encoded(
        [questions[place] for place in kept], [trees[place] for place in kept], skipped=len(trees) - len(kept)
    )


@dataclass(frozen=True)
class Scored:
    """The candidates of a task's questions: their table, and where asked for the states that reward heads read.

    table: one row a candidate, in order: document, candidate (index), label (its text), log_probability (sum over the
        answer's tokens without `<|im_end|>`, nats), tokens (their number), end_log_probability (of `<|im_end|>`), reward
        (NaN without head), is_gold, gold (the gold value of a regression task, else the gold label).
    states: [candidates, width], or None.
    """

    table: pd.DataFrame
    states: Tensor | None


def score_questions(
    model: PreferenceModel,
    questions: Sequence[Question],
    trees: Sequence[Tree],
    tokens_per_pass: int | None = None,
    description: str = "scoring",
    states: bool = False,
) -> Scored:
    """Every candidate of `questions`, encoded as `trees`."""
    scores = score_trees(
        model, trees, tokens_per_pass=tokens_per_pass, states=states, description=description
    )
    table = pd.DataFrame(
        [_record(question, index) for question in questions for index in range(len(question.candidates))]
    )
    ends = scores.last_log_probabilities
    table.insert(3, "log_probability", scores.log_probabilities - ends)
    table.insert(4, "tokens", scores.tokens - 1)
    table.insert(5, "end_log_probability", ends)
    (rewards,) = scores.rewards.values() or (np.full(len(table), np.nan),)
    table.insert(6, "reward", rewards.astype(float))
    return Scored(table, scores.states)


def _record(question: Question, index: int) -> dict[str, object]:
    value = question.gold_value
    return {
        "document": question.document,
        "candidate": index,
        "label": question.candidates[index],
        "is_gold": index == question.gold,
        "gold": question.candidates[question.gold] if value is None else repr(float(value)),
    }

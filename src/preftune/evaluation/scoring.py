"""Scores of every candidate of every question: log-probability and reward from one forward pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from torch import Tensor

from preftune.data.chat import encode_completion, encode_prompt
from preftune.data.prepared import open_split
from preftune.data.tasks.base import Question, Task
from preftune.data.texts import encode_continuation
from preftune.errors import PreftuneError
from preftune.preference.heads import PreferenceModel
from preftune.preference.scoring import score_trees
from preftune.training.trees import Tree, fit_to_context


def read_questions(task: Task, folders: Sequence[Path], limit: int | None) -> list[Question]:
    """The first `limit` questions of the task in its split; its folder is the one named as its data set."""
    named = {Path(folder).name: Path(folder) for folder in folders}
    return task.questions(open_split(task.dataset, task.split, named, f"the task {task.name}"), limit)


def encode_question(model: PreferenceModel, question: Question) -> tuple[Tree, ...]:
    """The question as trees whose branches are its candidates, in order.

    A chat is one tree, each branch closed by `<|im_end|>`. A text is one tree where all candidates share a context, else one
    tree a candidate; its branches have no end.
    """
    if question.contexts:
        return _encode_text(model, question)
    tokenizer = model.tokenizer
    branches = tuple(encode_completion(tokenizer, text) for text in question.candidates)
    if min(map(len, branches)) < 2:  # <|im_end|> alone
        raise PreftuneError(
            f"example {question.document}: a branch is empty; repair or drop this row of the data."
        )
    opening = [tokenizer.eos_token_id] if question.leading_eos else []
    return (Tree(question.document, [*opening, *encode_prompt(tokenizer, question.messages)], branches),)


def _encode_text(model: PreferenceModel, question: Question) -> tuple[Tree, ...]:
    continuations = [question.delimiter + text for text in question.candidates]
    contexts = question.contexts
    apart = len(contexts) > 1
    try:
        pairs = [
            encode_continuation(model.tokenizer, contexts[place if apart else 0], text)
            for place, text in enumerate(continuations)
        ]
    except PreftuneError as error:
        raise PreftuneError(f"example {question.document}: {error}") from error
    if apart:
        return tuple(Tree(question.document, prompt, (branch,)) for prompt, branch in pairs)
    return (Tree(question.document, pairs[0][0], tuple(branch for _, branch in pairs)),)


@dataclass(frozen=True)
class Encoded:
    """A task's questions that fit into the model's context and their trees, in order; how many prompts were cut for it
    (`truncated`), how many questions were left out (`skipped`), and how many have candidates with equal tokens (`equal`), which
    are bound to tie.
    """

    questions: list[Question]
    trees: list[Tree]
    truncated: int = 0
    skipped: int = 0
    equal: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """What was done to questions, by name."""
        return {"truncated": self.truncated, "skipped": self.skipped, "equal_candidates": self.equal}


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
    encoded = [encode_question(model, question) for question in questions]
    kept = [place for place, trees in enumerate(encoded) if max(tree.longest for tree in trees) <= context]
    skipped = len(encoded) - len(kept) if long == "skip" else 0
    if long == "skip":
        if not kept:
            raise PreftuneError(
                f"no question of {questions[0].task} fits into the model's context of {context} tokens: take it out of the tasks."
            )
        questions, encoded = [questions[place] for place in kept], [encoded[place] for place in kept]
    equal = sum(_has_equals(trees) for trees in encoded)
    trees, truncated = fit_to_context(
        [tree for trees in encoded for tree in trees], context, "truncate" if long == "truncate" else "refuse"
    )
    return Encoded(list(questions), trees, truncated, skipped, equal)


def _has_equals(trees: Sequence[Tree]) -> bool:
    paths = [(tuple(tree.prompt), tuple(branch)) for tree in trees for branch in tree.branches]
    return len(set(paths)) < len(paths)


@dataclass(frozen=True)
class Scored:
    """The candidates of a task's questions: their table, and where asked for the states that reward heads read.

    table: one row a candidate, in order: document, candidate (index), label (its text), log_probability (sum over the
        answer's tokens without `<|im_end|>`, nats), tokens (their number), end_log_probability (of `<|im_end|>`; 0 where a
        text has none), reward (NaN without head), is_gold, gold (the gold value of a regression task, else the gold label;
        empty where it is hidden).
    states: [candidates, width], or None.
    """

    table: pd.DataFrame
    states: Tensor | None


def score_questions(
    model: PreferenceModel,
    encoded: Encoded,
    tokens_per_pass: int | None = None,
    description: str = "scoring",
    states: bool = False,
) -> Scored:
    """Every candidate of the encoded questions.

    Raises:
        PreftuneError: questions are plain texts and the model has a reward head, which reads at `<|im_end|>`.
    """
    questions = encoded.questions
    ends = not questions[0].contexts
    if not ends and (model.head is not None or states):
        raise PreftuneError(
            f"{questions[0].task}: a reward head reads at <|im_end|>, which plain texts have not: use a template set of chats, or "
            "a model without its head."
        )
    scores = score_trees(
        model, encoded.trees, tokens_per_pass=tokens_per_pass, states=states, description=description
    )
    table = pd.DataFrame(
        [_record(question, index) for question in questions for index in range(len(question.candidates))]
    )
    last = scores.last_log_probabilities if ends else np.zeros(len(table))
    table.insert(3, "log_probability", scores.log_probabilities - last)
    table.insert(4, "tokens", scores.tokens - int(ends))
    table.insert(5, "end_log_probability", last)
    (rewards,) = scores.rewards.values() or (np.full(len(table), np.nan),)
    table.insert(6, "reward", rewards.astype(float))
    return Scored(table, scores.states)


def _record(question: Question, index: int) -> dict[str, object]:
    value = question.gold_value
    hidden = question.gold is None
    return {
        "document": question.document,
        "candidate": index,
        "label": question.candidates[index],
        "is_gold": index == question.gold,
        "gold": "" if hidden else question.answer if value is None else repr(float(value)),
    }

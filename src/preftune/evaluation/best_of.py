"""Answers that a model writes to questions with a closed answer, their scores, and whether they are right."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from preftune.data.chat import encode_completion, encode_prompt, marker_id
from preftune.data.tasks.base import Question
from preftune.data.texts import fold_text
from preftune.errors import PreftuneError
from preftune.evaluation.choices import CHOOSERS, COLUMNS
from preftune.preference.generation import Answer, leaves_room, write_answers
from preftune.preference.heads import PreferenceModel
from preftune.preference.scoring import score_trees
from preftune.settings.best_of import SamplingSettings
from preftune.training.trees import Tree


@dataclass(frozen=True)
class Selection:
    """The questions of a task whose right answer can be written and recognised, and how many others there were, by reason."""

    questions: list[Question]
    skipped: dict[str, int]


def is_right(text: str, question: Question) -> bool:
    """Whether an answer is the gold candidate, but for case, punctuation and white space."""
    return fold_text(text) == fold_text(question.answer)


def select_questions(model: PreferenceModel, questions: Sequence[Question], max_new_tokens: int) -> Selection:
    """The questions that can be answered in the model's context with `max_new_tokens`, `<|im_end|>` included.

    Skipped are those with a `long_prompt` (`leaves_room`), those with a `long_answer`, and those whose answers are
    `not_distinct`: another candidate, or an empty text, would be taken for the gold one.

    Raises:
        PreftuneError: none is left, or the questions are plain texts, in which nothing ends an answer.
    """
    if any(question.contexts for question in questions):
        raise PreftuneError(
            f"task {questions[0].task} is worded as a plain text, in which nothing ends an answer: take a template set of chats."
        )
    reasons = [_find_fault(model, question, max_new_tokens) for question in questions]
    kept = [question for question, reason in zip(questions, reasons, strict=True) if reason is None]
    skipped = Counter(reason for reason in reasons if reason is not None)
    if not kept:
        raise PreftuneError(
            f"no question of task {questions[0].task} has an answer of at most {max_new_tokens} tokens in the model's context "
            f"({', '.join(f'{reason}: {count}' for reason, count in skipped.items())}): raise max_new_tokens or take the task out."
        )
    return Selection(kept, dict(skipped))


def _find_fault(model: PreferenceModel, question: Question, max_new_tokens: int) -> str | None:
    if not leaves_room(model, encode_prompt(model.tokenizer, question.messages), max_new_tokens):
        return "long_prompt"
    if len(encode_completion(model.tokenizer, question.answer)) > max_new_tokens:
        return "long_answer"
    folded = [fold_text(text) for text in question.candidates]
    return None if all(folded) and len(set(folded)) == len(folded) else "not_distinct"


def answer_questions(
    model: PreferenceModel,
    questions: Sequence[Question],
    settings: SamplingSettings,
    seed: int,
    reference: PreferenceModel | None = None,
) -> pd.DataFrame:
    """Sampled answers and the greedy one to every question, each with its scores.

    Args:
        reference: the language model that the run started from; None: the run's own is still that, so no answer has an
            implicit reward.

    Returns:
        One row an answer, with the columns of `COLUMNS`: sample counts from 0, and the greedy answer comes last; tokens are
        without `<|im_end|>`; ended: whether the model closed the answer; reward: the head's; log: log pi(y) a token without
        `<|im_end|>`, of an empty answer that of `<|im_end|>`; implicit: log pi(y) - log pi_ref(y), with `<|im_end|>`. One that
        was cut off is scored with an `<|im_end|>` after it.

    Raises:
        PreftuneError: the model has no reward head, or several.
    """
    conversations = [question.messages for question in questions]
    answers, rewards = write_answers(model, conversations, settings, seed)
    trees = [_tree(model, question, found) for question, found in zip(questions, answers, strict=True)]
    own = score_trees(model, trees, description="reading answers")
    before = None if reference is None else score_trees(reference, trees, description="reading answers")
    table = pd.DataFrame(
        [
            (
                question.task,
                question.document,
                sample,
                answer.text,
                len(answer.token_ids),
                answer.ended,
                is_right(answer.text, question),
                sample == settings.count,
            )
            for question, found in zip(questions, answers, strict=True)
            for sample, answer in enumerate(found)
        ],
        columns=[name for name in COLUMNS if name not in CHOOSERS],
    )
    whole, last = own.log_probabilities, own.last_log_probabilities
    tokens = table["tokens"].to_numpy()
    table["reward"] = np.concatenate(rewards)
    table["log"] = np.where(tokens > 0, (whole - last) / np.maximum(tokens, 1), last)
    table["implicit"] = np.nan if before is None else whole - before.log_probabilities
    return table[list(COLUMNS)]


def _tree(model: PreferenceModel, question: Question, answers: Sequence[Answer]) -> Tree:
    """A question's prompt, and below it each answer as it was written, closed."""
    marker = marker_id(model.tokenizer)
    branches = tuple([*answer.token_ids, marker] for answer in answers)
    return Tree(question.document, encode_prompt(model.tokenizer, question.messages), branches)

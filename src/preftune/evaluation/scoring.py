"""Scores of every candidate of every question: log-probability and reward from one forward pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from datasets import load_from_disk

from preftune.data.chat import encode_completion, encode_prompt
from preftune.data.tasks.base import Question, Task
from preftune.errors import PreftuneError
from preftune.preference.batches import Completion, collate_completions, length_sorted_batches
from preftune.preference.heads import PreferenceModel, PreferenceOutput
from preftune.progress import track


@dataclass(frozen=True)
class Scores:
    """Per row: log-probability of the answer without `<|im_end|>` (sum, nats), reward (NaN without head)."""

    log_probabilities: np.ndarray
    rewards: np.ndarray


def read_questions(task: Task, folders: Sequence[Path], limit: int | None) -> list[Question]:
    """The first `limit` questions of the task's split; its folder is the one named as its data set."""
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
    rows = splits[task.split]
    count = len(rows) if limit is None else min(limit, len(rows))
    return [task.question(rows[i], i) for i in range(count)]


def encode_question(model: PreferenceModel, question: Question) -> list[Completion]:
    """One row for each candidate: the question as prompt, the candidate with `<|im_end|>` as completion."""
    prompt = encode_prompt(model.tokenizer, question.messages)
    return [Completion(prompt, encode_completion(model.tokenizer, text)) for text in question.candidates]


def score_groups(
    model: PreferenceModel, groups: Sequence[list[Completion]], batch: int, description: str
) -> Scores:
    """Score the candidates of each question, in eval mode; the prompt of a question is read once.

    A forward pass holds questions of similar length with about `batch` candidates in all. The prompt but for its
    last token goes through the model once; each candidate then continues from its keys and values.
    """
    model.eval()
    starts = np.cumsum([0, *(len(group) for group in groups)])
    log_probabilities, rewards = np.empty(starts[-1]), np.full(starts[-1], np.nan)
    questions = max(1, round(batch * len(groups) / starts[-1]))
    order = length_sorted_batches([len(group[0].prompt_ids) for group in groups], questions)
    with torch.no_grad():
        for chosen in track(order, description, unit="batch"):
            places = [starts[i] + j for i in chosen for j in range(len(groups[i]))]
            output = _score_batch(model, [groups[i] for i in chosen])
            assert output.token_log_probabilities is not None  # a completion mask was given
            log_probabilities[places] = output.token_log_probabilities.sum(dim=1).cpu().numpy()
            for values in output.rewards.values():
                rewards[places] = values.cpu().numpy()
    return Scores(log_probabilities, rewards)


def _score_batch(model: PreferenceModel, groups: Sequence[list[Completion]]) -> PreferenceOutput:
    pad_id = model.tokenizer.pad_token_id
    prompts = [Completion(group[0].prompt_ids[:-1], []) for group in groups]
    inputs = collate_completions(prompts, pad_id, model.device)
    prefix = model.read_prefix(inputs.input_ids, inputs.attention_mask)
    owners = [owner for owner, group in enumerate(groups) for _ in group]
    rows = [Completion(row.prompt_ids[-1:], row.completion_ids) for group in groups for row in group]
    inputs = collate_completions(rows, pad_id, model.device)
    # The log score leaves <|im_end|>, the last token of each completion, out.
    inputs.completion_mask[range(len(rows)), [len(row) - 1 for row in rows]] = False
    return model(inputs.input_ids, inputs.attention_mask, inputs.completion_mask, prefix.select(owners))


def score_questions(
    model: PreferenceModel, questions: Sequence[Question], batch: int, description: str = "scoring"
) -> pd.DataFrame:
    """The candidate table of `questions`: one row a candidate, in order.

    Columns: document, candidate (index), label (its text), log_probability (sum over the answer's tokens
    without `<|im_end|>`, nats), tokens (their number), reward (NaN without head), is_gold, gold (the gold
    value of a regression task, else the gold label).
    """
    groups = [encode_question(model, question) for question in questions]
    records = [
        _record(question, index, len(row.completion_ids) - 1)
        for question, group in zip(questions, groups, strict=True)
        for index, row in enumerate(group)
    ]
    scores = score_groups(model, groups, batch, description)
    table = pd.DataFrame(records)
    table.insert(3, "log_probability", scores.log_probabilities)
    table.insert(5, "reward", scores.rewards)
    return table


def _record(question: Question, index: int, tokens: int) -> dict[str, object]:
    if tokens < 1:
        raise PreftuneError(
            f"document {question.document}: candidate {index} is empty; repair this row of the data."
        )
    value = question.gold_value
    return {
        "document": question.document,
        "candidate": index,
        "label": question.candidates[index],
        "tokens": tokens,
        "is_gold": index == question.gold,
        "gold": question.candidates[question.gold] if value is None else repr(float(value)),
    }

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
from preftune.preference.heads import PreferenceModel
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


def score_rows(model: PreferenceModel, rows: Sequence[Completion], batch: int, description: str) -> Scores:
    """Score rows in length-sorted, right-padded batches of at most `batch`, in eval mode."""
    model.eval()
    log_probabilities, rewards = np.empty(len(rows)), np.full(len(rows), np.nan)
    pad_id = model.tokenizer.pad_token_id
    with torch.no_grad():
        for indices in track(
            length_sorted_batches([len(row) for row in rows], batch), description, unit="batch"
        ):
            inputs = collate_completions([rows[i] for i in indices], pad_id, model.device)
            # The log score leaves <|im_end|>, the last token of each completion, out.
            inputs.completion_mask[range(len(indices)), [len(rows[i]) - 1 for i in indices]] = False
            output = model(inputs.input_ids, inputs.attention_mask, inputs.completion_mask)
            log_probabilities[indices] = output.token_log_probabilities.sum(dim=1).cpu().numpy()
            for values in output.rewards.values():
                rewards[indices] = values.cpu().numpy()
    return Scores(log_probabilities, rewards)


def score_questions(
    model: PreferenceModel, questions: Sequence[Question], batch: int, description: str = "scoring"
) -> pd.DataFrame:
    """The candidate table of `questions`: one row a candidate, in order.

    Columns: document, candidate (index), label (its text), log_probability (sum over the answer's tokens
    without `<|im_end|>`, nats), tokens (their number), reward (NaN without head), is_gold, gold (the gold
    value of a regression task, else the gold label).
    """
    rows: list[Completion] = []
    records = []
    for question in questions:
        for index, row in enumerate(encode_question(model, question)):
            rows.append(row)
            records.append(_record(question, index, len(row.completion_ids) - 1))
    scores = score_rows(model, rows, batch, description)
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

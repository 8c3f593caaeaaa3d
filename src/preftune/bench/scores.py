"""What a reward costs at evaluation: log-probability and reward from one pass beside the log-probability alone."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from preftune.bench.alternate import Row, alternate
from preftune.bench.inputs import make_questions
from preftune.data.tasks.base import Question
from preftune.evaluation.scoring import encode_questions, score_questions
from preftune.preference.heads import PreferenceModel

TOLERANCE = 1e-3  # nats: the log-probabilities of both sides are the same numbers


def compare_scores(
    model: PreTrainedModel, tokenizer: Any, lengths: tuple[int, int], questions: int, rounds: int
) -> Row:
    """Chats of four candidates; each round `questions` of them, tokenisation and the table of candidates included.

    `theirs` is our scorer without a head, `ours` with the paper's (SwiGLU pooler). `lengths` are the mean tokens of prompts and
    candidates.
    """
    torch.manual_seed(0)
    alone = PreferenceModel(model, tokenizer).eval()
    both = PreferenceModel.with_new_head(copy.deepcopy(model), tokenizer).eval()
    texts = make_questions(tokenizer, *lengths, count=questions * (rounds + 1))
    asked = [
        Question(f"question {i}", "bench", [{"role": "user", "content": context}], list(candidates), 0)
        for i, (context, candidates) in enumerate(texts)
    ]

    def score(scorer: PreferenceModel, batch: Sequence[Question]) -> list[float]:
        table = score_questions(scorer, encode_questions(scorer, batch)).table
        return [float(value) for value in table["log_probability"]]

    return alternate(
        "log and reward scores, SmolLM2-135M, RACE-like",
        "log score alone, same scorer",
        "candidates/s",
        1 / 1.1,
        [asked[start : start + questions] for start in range(0, len(asked), questions)],
        lambda batch: score(alone, batch),
        lambda batch: score(both, batch),
        lambda batch: sum(len(question.candidates) for question in batch),
        TOLERANCE,
    )

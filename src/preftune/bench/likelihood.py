"""Log-likelihoods of multiple-choice candidates against lm-eval's `hf` model, on the same requests."""

from collections.abc import Sequence
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import PreTrainedModel

from preftune.bench.alternate import Row, alternate
from preftune.bench.inputs import make_questions
from preftune.errors import PreftuneError
from preftune.evaluation.lm_eval_model import TreeLM
from preftune.preference.heads import PreferenceModel

THEIR_BATCH = 8
# bfloat16: the hf model takes the log-softmax in bfloat16 too, so single values differ by up to two nats.
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 3.0}


def compare_likelihoods(
    name: str,
    models: tuple[PreTrainedModel, PreTrainedModel],
    tokenizer: Any,
    lengths: tuple[int, int],
    questions: int,
    rounds: int,
    target: float | None,
) -> Row:
    """Requests of four candidates a question; each round `questions` of them, tokenisation included on both sides.

    `models` are two copies of one model: theirs and ours. `lengths` are the mean tokens of contexts and candidates.
    """
    theirs = HFLM(
        pretrained=models[0], tokenizer=tokenizer, backend="causal", batch_size=THEIR_BATCH, max_length=2048
    )
    ours = TreeLM(PreferenceModel(models[1], tokenizer).eval())
    texts = make_questions(tokenizer, *lengths, count=questions * (rounds + 1))
    batches = [_requests(texts[start : start + questions]) for start in range(0, len(texts), questions)]
    dtype = next(models[0].parameters()).dtype
    row = alternate(
        name, f"lm-eval hf, batch {THEIR_BATCH}", "requests/s", target, batches,
        lambda batch: [value for value, _ in theirs.loglikelihood(batch, disable_tqdm=True)],
        lambda batch: [value for value, _ in ours.loglikelihood(batch, disable_tqdm=True)],
        work=len, tolerance=TOLERANCE[dtype],
    )  # fmt: skip
    row.check["same_argmax"] = _agreement(theirs, ours, batches[0])
    if dtype == torch.float32 and row.check["same_argmax"] < 1:
        raise PreftuneError(f"{name}: lm-eval and preftune choose different candidates; find out why.")
    return row


def _requests(texts: Sequence[tuple[str, list[str]]]) -> list[Instance]:
    pairs = [(context, candidate) for context, candidates in texts for candidate in candidates]
    return [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)]


def _agreement(theirs: HFLM, ours: TreeLM, batch: list[Instance]) -> float:
    """Part of the questions whose likeliest candidate is the same."""
    values = torch.tensor(
        [
            [value for value, _ in side.loglikelihood(batch, disable_tqdm=True)]  # [requests]
            for side in (theirs, ours)
        ]
    )
    chosen = values.view(2, -1, 4).argmax(dim=-1)  # [2, questions]
    return float((chosen[0] == chosen[1]).float().mean())

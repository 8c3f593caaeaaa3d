"""Captions and answers by greedy or beam search, with a key-value cache."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import GenerationConfig

from preftune.captioning.batch import CAPTION, Task
from preftune.captioning.captioner import Captioner
from preftune.training.trees import Ids


@torch.no_grad()
def generate(
    captioner: Captioner,
    features: Tensor | None,
    max_new_tokens: int,
    beams: int = 1,
    questions: Sequence[Ids] | None = None,
    task: Task = CAPTION,
) -> list[list[int]]:
    """Token ids, without EOS, for features [rows, N, encoder width], for questions (token ids), or for both.

    Greedy with one beam; each step's contexts are those of its own token. transformers searches, so its length
    normalisation (sum of log-probabilities / length) is the beams'.
    """
    prefix = captioner.prefix(features, questions, task)
    settings = GenerationConfig(
        max_new_tokens=max_new_tokens, do_sample=False, num_beams=beams, early_stopping=beams > 1,
        eos_token_id=captioner.eos, pad_token_id=captioner.eos,
    )  # fmt: skip
    with captioner.decoding(prefix, task, beams):
        found = captioner.language_model.generate(  # type: ignore[operator]
            inputs_embeds=prefix.embeddings, attention_mask=prefix.mask, generation_config=settings
        )
    rows = found.tolist()
    return [row[: row.index(captioner.eos)] if captioner.eos in row else row for row in rows]

"""Divergence of a language model from its reference at every answer token, over the whole vocabulary.

Both softmaxes are in fp32 whatever the models compute in. What the backward pass needs is kept where it fits into a
byte budget, and recomputed in chunks of rows where it does not; both give the same numbers.
"""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from preftune.errors import PreftuneError
from preftune.training.logprobs import LOGIT_BYTES

_ARRAYS = 5
"""fp32 arrays [rows, vocabulary] alive at once: both log-probabilities, and three of their product."""


def token_divergences(
    hidden: Tensor,
    reference_hidden: Tensor,
    head: nn.Linear,
    reference_head: nn.Linear,
    predictor: Tensor,
    budget: int | None = None,
) -> Tensor:
    """KL(pi_ref || pi_theta) = sum_v pi_ref(v) (log pi_ref(v) - log pi_theta(v)) where each token is predicted.

    Args:
        hidden: states of the predicting positions under the policy [rows, width].
        reference_hidden: the same under the reference model [rows, reference width]; no gradient reaches it.
        head: the policy's output embedding, states -> logits [rows, vocabulary].
        reference_head: the reference model's; no gradient reaches it.
        predictor: the row that predicts each token [tokens]; a row may predict several, which then count each.
        budget: bytes that the fp32 arrays of one chunk of rows may take. None: by device.

    Returns:
        Divergences in nats, fp32 [tokens].

    Raises:
        PreftuneError: the two models differ in rows or in vocabulary.

    Source: the follow-up code of the DPH paper's authors, which anchors the policy by the sum over an answer's tokens.
    """
    if budget is None:
        budget = LOGIT_BYTES.get(hidden.device.type, LOGIT_BYTES["cuda"])
    shape = (len(hidden), len(head.weight))
    reference_shape = (len(reference_hidden), len(reference_head.weight))
    if shape != reference_shape:
        raise PreftuneError(
            f"The policy's predictions have the shape {shape} but the reference model's {reference_shape}; pass the "
            "checkpoint that the policy started from as reference."
        )
    rows = max(1, budget // (_ARRAYS * 4 * shape[1]))
    if rows >= len(hidden):
        return _divergences(hidden, reference_hidden, head, reference_head)[predictor]
    chunks = [
        checkpoint(_divergences, *part, head, reference_head, use_reentrant=False, preserve_rng_state=False)
        for part in zip(hidden.split(rows), reference_hidden.split(rows), strict=True)
    ]
    return torch.cat(chunks)[predictor]


def _divergences(
    hidden: Tensor, reference_hidden: Tensor, head: nn.Linear, reference_head: nn.Linear
) -> Tensor:
    """Of every row [rows]."""
    logps = torch.log_softmax(head(hidden).float(), dim=-1)
    with torch.no_grad():
        reference_logps = torch.log_softmax(reference_head(reference_hidden).float(), dim=-1)
    return (reference_logps.exp() * (reference_logps - logps)).sum(dim=-1)

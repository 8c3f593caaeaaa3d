"""Log-probabilities of chosen tokens from hidden states: the language-model head only where a token is predicted.

The softmax is in fp32 whatever the model computes in. Logits are kept for the backward pass where they fit into a byte
budget, and recomputed in chunks of rows where they do not; both give the same numbers.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from preftune.errors import PreftuneError
from preftune.models.projected import ProjectedHead

LOGIT_BYTES = {"cpu": 512 << 20, "cuda": 4 << 30}
"""Budget of the fp32 logits of one pass, by device type."""


def token_log_probabilities(
    hidden: Tensor,
    head: nn.Module,
    predictor: Tensor,
    targets: Tensor,
    budget: int | None = None,
    greedy: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """log softmax(head(h))[target], and where asked whether the target is the most likely token.

    Args:
        hidden: states h of the predicting positions [rows, width].
        head: the model's output embedding: a linear layer [vocabulary, width], or one behind a projection.
        predictor: the row of `hidden` that predicts each token [tokens]; a row may predict several.
        targets: ids of the tokens [tokens].
        budget: bytes that the fp32 logits [rows, vocabulary] may take; more is computed in chunks of rows. None: by
            device.
        greedy: whether the second result is wanted; it costs a pass over the logits.

    Returns:
        Log-probabilities in nats, fp32 [tokens], and booleans [tokens] or None.
    """
    if isinstance(head, ProjectedHead):
        hidden = head.projection(hidden)
    elif not isinstance(head, nn.Linear):
        raise PreftuneError(
            f"The model's output embedding is a {type(head).__name__}, not one linear layer: its log-probabilities cannot "
            "be computed here; choose another model, or leave lm_head out of the adapter's targets."
        )
    if budget is None:
        budget = LOGIT_BYTES.get(hidden.device.type, LOGIT_BYTES["cuda"])
    dtype = hidden.dtype
    if torch.is_autocast_enabled(hidden.device.type):
        dtype = torch.get_autocast_dtype(hidden.device.type)
    rows = max(1, min(len(hidden), budget // (4 * head.weight.shape[0])))
    is_greedy = torch.empty(len(targets), dtype=torch.bool, device=hidden.device) if greedy else None
    logps = _ChunkedLogSoftmax.apply(
        hidden, head.weight, head.bias, predictor, targets, is_greedy, rows, dtype
    )
    return logps, is_greedy


class _ChunkedLogSoftmax(torch.autograd.Function):
    """One chunk is kept for the backward pass; of several none is."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        predictor: Tensor,
        targets: Tensor,
        is_greedy: Tensor | None,
        rows: int,
        dtype: torch.dtype,
    ) -> Tensor:
        logps = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
        scores = None
        for start in range(0, len(hidden), rows):
            own, row = _tokens_of(predictor, start, start + rows)
            scores = _log_softmax(hidden[start : start + rows], weight, bias, dtype)
            found = scores[row, targets[own]]
            logps[own] = found
            if is_greedy is not None:
                is_greedy[own] = found == scores.amax(dim=1)[row]
        ctx.kept = scores if rows >= len(hidden) and any(ctx.needs_input_grad[:3]) else None
        ctx.save_for_backward(hidden, weight, bias, predictor, targets)
        ctx.rows, ctx.dtype = rows, dtype
        return logps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, predictor, targets = ctx.saved_tensors
        cast = weight.to(ctx.dtype)
        d_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        d_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        d_bias = torch.zeros_like(bias) if bias is not None and ctx.needs_input_grad[2] else None
        for start in range(0, len(hidden), ctx.rows):
            part = slice(start, start + ctx.rows)
            own, row = _tokens_of(predictor, start, start + ctx.rows)
            scores = ctx.kept if ctx.kept is not None else _log_softmax(hidden[part], weight, bias, ctx.dtype)
            ctx.kept = None
            # d logp / d logits = one-hot(target) - softmax, summed over the tokens that a row predicts.
            totals = torch.zeros(len(scores), device=grad.device).index_add_(0, row, grad[own])
            d_logits = scores.exp_().mul_(-totals[:, None])
            d_logits.index_put_((row, targets[own]), grad[own], accumulate=True)
            d_logits = d_logits.to(ctx.dtype)
            if d_hidden is not None:
                d_hidden[part] = d_logits @ cast
            if d_weight is not None:
                d_weight += d_logits.T @ hidden[part].to(ctx.dtype)
            if d_bias is not None:
                d_bias += d_logits.sum(dim=0)
        return d_hidden, d_weight, d_bias, None, None, None, None, None


def _tokens_of(predictor: Tensor, start: int, stop: int) -> tuple[Tensor, Tensor]:
    """Tokens that rows start <= r < stop predict, and their rows counted from `start`."""
    own = ((predictor >= start) & (predictor < stop)).nonzero().squeeze(1)
    return own, predictor[own] - start


def _log_softmax(hidden: Tensor, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """fp32 log-softmax [rows, vocabulary], in place of the logits where they are fp32 already."""
    logits = F.linear(hidden.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)).float()
    return torch.log_softmax(logits, dim=-1, out=logits)  # type: ignore[call-overload]

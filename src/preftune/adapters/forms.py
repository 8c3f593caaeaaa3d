"""The forms of Context-LoRA, equal in value and gradient: y = x W^T (+ b) + sum over groups g of S_g s_g (x A_g^T) B_g^T.

`lora_by_einsum` is the paper's algorithm 1, the reference. The others are what runs: by mask (every token meets every
group along one widened rank, zero where a group is off: fastest for small ranks, static shapes), by part (each group
meets its own tokens: slices of the sequence where every row has the same layout, gathered positions otherwise). These two
compute the frozen layer as well, so that its output and its input's gradient are written once and added to in place: in
training that is cheaper than a plain LoRA layer of the same rank, which makes a second output of full width.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Part = Tensor | tuple[int, int]
"""Tokens of a group: flat positions [n] of [tokens, width], or (start, stop) along the sequence of [rows, seq, width]."""

Update = tuple[Tensor, Tensor, float, Sequence[Part]]
"""What a group adds: A [rank, in], B [out, rank], scale, and where."""


def lora_by_einsum(x: Tensor, a: Tensor, b: Tensor, selection: Tensor) -> Tensor:
    """The update alone, as the paper writes it.

    x [..., in], a [groups, in, rank], b [groups, rank, out], selection S [..., groups] -> [..., out]. The order of the
    products (A, then B, then S) makes no weight update and no array of groups x in x out.
    """
    return torch.einsum("...cr,crd,...c->...d", torch.einsum("...l,clr->...cr", x, a), b, selection)


def lora_by_mask(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    groups: Sequence[tuple[Tensor, Tensor]],
    selection: Tensor | None,
) -> Tensor:
    """The layer with its groups (a [rank, in], b [out, rank]) side by side along the rank.

    x [tokens, in], weight [out, in] and bias [out] frozen, selection [tokens or 1, sum of ranks] (scale where a group is
    on, 0 where it is off; None: 1 everywhere) -> [tokens, out].
    """
    a, b = zip(*groups, strict=True)
    if torch.compiler.is_compiling():  # the compiler fuses by itself
        low = x @ torch.cat(a).t()
        low = low if selection is None else low * selection
        return torch.nn.functional.linear(x, weight, bias) + low @ torch.cat(b, dim=1).t()
    return _ByMask.apply(x, weight, bias, selection, *a, *b)  # type: ignore[no-any-return]


def lora_by_part(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    groups: Sequence[Update],
) -> Tensor:
    """The layer with groups (a [rank, in], b [out, rank], scale, parts), each applied to its own tokens.

    x [tokens, in] for parts of positions, [rows, seq, in] for (start, stop) -> like x with width out.
    """
    weights = [tensor for a, b, _, _ in groups for tensor in (a, b)]
    places = [(scale, tuple(parts)) for _, _, scale, parts in groups]
    return _ByPart.apply(x, weight, bias, places, *weights)  # type: ignore[no-any-return]


class _ByMask(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        selection: Tensor | None,
        *weights: Tensor,
    ) -> Tensor:
        count = len(weights) // 2
        a, b = torch.cat(weights[:count]), torch.cat(weights[count:], dim=1)
        low = x @ a.t()
        if selection is not None:
            low.mul_(selection)
        ctx.ranks = [len(one) for one in weights[:count]]
        ctx.save_for_backward(x, weight, a, b, selection, low)
        return torch.nn.functional.linear(x, weight, bias).addmm_(low, b.t())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight, a, b, selection, low = ctx.saved_tensors
        grad_low = grad @ b
        if selection is not None:
            grad_low.mul_(selection)
        grad_x = (grad @ weight).addmm_(grad_low, a) if ctx.needs_input_grad[0] else None
        grad_a = (grad_low.t() @ x).split(ctx.ranks)
        grad_b = (grad.t() @ low).split(ctx.ranks, dim=1)
        return grad_x, None, None, None, *grad_a, *grad_b


class _ByPart(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        places: list[tuple[float, tuple[Part, ...]]],
        *weights: Tensor,
    ) -> Tensor:
        out, lows = torch.nn.functional.linear(x, weight, bias), []
        for (scale, parts), a, b in zip(places, weights[::2], weights[1::2], strict=True):
            for part in parts:
                low = (_take(x, part) @ a.t()).mul_(scale)
                _add(out, part, low @ b.t())
                lows.append(low)
        ctx.places, ctx.count = places, len(weights)
        ctx.save_for_backward(x, weight, *weights, *lows)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        x, weight, *rest = ctx.saved_tensors
        weights, lows = rest[: ctx.count], iter(rest[ctx.count :])
        grad_x = grad @ weight if ctx.needs_input_grad[0] else None
        grads = [torch.zeros_like(tensor) for tensor in weights]
        for number, (scale, parts) in enumerate(ctx.places):
            a, b = weights[2 * number : 2 * number + 2]
            for part in parts:
                part_grad = _take(grad, part)
                grad_low = (part_grad @ b).mul_(scale)
                grads[2 * number].addmm_(_flat(grad_low).t(), _flat(_take(x, part)))
                grads[2 * number + 1].addmm_(_flat(part_grad).t(), _flat(next(lows)))
                if grad_x is not None:
                    _add(grad_x, part, grad_low @ a)
        return grad_x, None, None, None, *grads


def _take(x: Tensor, part: Part) -> Tensor:
    return x.index_select(0, part) if isinstance(part, Tensor) else x[:, part[0] : part[1]]


def _add(x: Tensor, part: Part, value: Tensor) -> None:
    if isinstance(part, Tensor):
        x.index_add_(0, part, value)
    else:
        x[:, part[0] : part[1]] += value


def _flat(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1])

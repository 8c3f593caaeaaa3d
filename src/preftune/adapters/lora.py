"""Context-LoRA: h = W x (+ b) + x A_c B_c (Context-PEFT paper, section 3.3, algorithm 1)."""

import math

import torch
from torch import Tensor, nn

from preftune.adapters.base import ContextAdapter, Projection
from preftune.adapters.context import Contexts, apply_by_segment


def lora_delta_by_mask(x: Tensor, a: Tensor, b: Tensor, one_hot: Tensor) -> Tensor:
    """Sum over groups of S[.., c] (x A_c) B_c, for scattered contexts: all groups side by side along the rank, masked
    between A and B.

    x [batch, seq, in], a [groups, in, rank], b [groups, rank, out], one_hot S [batch, seq, groups] -> [batch, seq, out].
    One product each way for all groups, no gathering of tokens: on packed rows it is the fastest form measured.
    """
    groups, width, rank = a.shape
    low = x @ a.transpose(0, 1).reshape(width, groups * rank)  # [batch, seq, groups * rank]
    return (low * one_hot.repeat_interleave(rank, dim=-1)) @ b.reshape(groups * rank, -1)


def lora_delta_by_segment(x: Tensor, a: Tensor, b: Tensor, contexts: Contexts) -> Tensor:
    """The same for contiguous segments: each meets its own group only."""
    return apply_by_segment(x, contexts, lambda part, group: (part @ a[group]) @ b[group])


class ContextLora(ContextAdapter):
    """Low-rank updates of scale 1 at every rank (alpha = r), no bias or dropout; B = 0 at the start."""

    attention = ("q_proj", "k_proj", "v_proj", "o_proj")
    feedforward = ("gate_proj", "up_proj", "gate_up_proj", "down_proj")

    def __init__(self, projection: Projection, groups: int, rank: int, generator: torch.Generator) -> None:
        super(ContextAdapter, self).__init__()
        # Kaiming-uniform with a = sqrt(5), nn.Linear's own rule, is U(-1/sqrt(in), 1/sqrt(in)).
        bound = 1 / math.sqrt(projection.in_features)
        a = torch.empty(groups, projection.in_features, rank).uniform_(-bound, bound, generator=generator)
        self.a = nn.Parameter(a)
        self.b = nn.Parameter(torch.zeros(groups, rank, projection.out_features))

    def forward(self, x: Tensor, base: nn.Linear, contexts: Contexts) -> Tensor:
        """[batch, seq, in] -> [batch, seq, out]."""
        a, b = self.a.to(x.dtype), self.b.to(x.dtype)
        if contexts.segments is not None:
            return base(x) + lora_delta_by_segment(x, a, b, contexts)
        return base(x) + lora_delta_by_mask(x, a, b, contexts.one_hot(a.shape[0], x.device, x.dtype))

"""Poolers: maps from the hidden state of one token to the vector that the reward heads read.

Source: Hadji-Kyriacou and Arandjelovic (2024), arXiv 2405.20053, and the authors' released code
(modeling.py).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from preftune.errors import PreftuneError

POOLERS = ("identity", "bert", "t5", "swiglu_bert", "swiglu_t5")


class IdentityPooler(nn.Module):
    """Dropout only: f(h) = Drop(h)."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map hidden states `[rows, width]` to `[rows, width]`."""
        return self.dropout(hidden)


class AffinePooler(nn.Module):
    """Learnt affine map: f(h) = Drop(tanh(W h + b)); the t5 form also drops out the input."""

    def __init__(self, width: int, dropout: float, input_dropout: float) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.input_dropout = nn.Dropout(input_dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map hidden states `[rows, width]` to `[rows, width]`."""
        return self.dropout(torch.tanh(self.dense(self.input_dropout(hidden))))


class SwigluPooler(nn.Module):
    """Inverted bottleneck: f(h) = Drop(tanh(W2 SwiGLU(W1 h + b1) + b2)); t5 also drops out the input."""

    def __init__(self, width: int, inner_width: int, dropout: float, input_dropout: float) -> None:
        super().__init__()
        self.expand = nn.Linear(width, 2 * inner_width)
        self.contract = nn.Linear(inner_width, width)
        self.input_dropout = nn.Dropout(input_dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map hidden states `[rows, width]` to `[rows, width]`."""
        # The authors' order: the first half is the value, the second the gate.
        value, gate = self.expand(self.input_dropout(hidden)).chunk(2, dim=-1)  # each [rows, inner_width]
        return self.dropout(torch.tanh(self.contract(value * F.silu(gate))))


def build_pooler(name: str, width: int, inner_width: int, dropout: float = 0.0) -> nn.Module:
    """The pooler called `name` for hidden states of `width`; `inner_width` is the m of the SwiGLU forms."""
    if name not in POOLERS:
        raise PreftuneError(f"unknown pooler '{name}'; choose one of {', '.join(POOLERS)}")
    input_dropout = dropout if name.endswith("t5") else 0.0
    if name == "identity":
        return IdentityPooler(dropout)
    if name in ("bert", "t5"):
        return AffinePooler(width, dropout, input_dropout)
    return SwigluPooler(width, inner_width, dropout, input_dropout)

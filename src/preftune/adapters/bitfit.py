"""Context-BitFit: h = W x + b + beta_c with b frozen (Context-PEFT paper, section 3.3)."""

import torch
from torch import Tensor, nn

from preftune.adapters.base import ContextAdapter, Projection
from preftune.adapters.context import Contexts, select_vectors


class ContextBitFit(ContextAdapter):
    """A second, trainable bias per group on every projection, also on one without a bias; 0 at the start."""

    attention = ("q_proj", "k_proj", "v_proj", "o_proj")
    feedforward = ("gate_proj", "up_proj", "gate_up_proj", "down_proj")

    def __init__(self, projection: Projection, groups: int, rank: int, generator: torch.Generator) -> None:
        super(ContextAdapter, self).__init__()
        self.bias = nn.Parameter(torch.zeros(groups, projection.out_features))

    def forward(self, x: Tensor, base: nn.Linear, contexts: Contexts) -> Tensor:
        """[batch, seq, in] -> [batch, seq, out]."""
        return base(x) + select_vectors(self.bias, contexts, x.dtype)

"""Context-IA3: keys, values and the FFN's inner activation are scaled by l_c (Context-PEFT, section 3.3)."""

import torch
from torch import Tensor, nn

from preftune.adapters.base import ContextAdapter, Projection
from preftune.adapters.context import Contexts, select_vectors


class ContextIa3(ContextAdapter):
    """A scale per feature and group, 1 at the start: on the output of k and v, on the input of the down
    projection.

    The input of `down_proj` is the activation after SwiGLU. (The paper's related-work section speaks of
    queries; its method section and its parameter counts say keys, values and FFN.)
    """

    attention = ("k_proj", "v_proj")
    feedforward = ("down_proj",)

    def __init__(self, projection: Projection, groups: int, rank: int, generator: torch.Generator) -> None:
        super(ContextAdapter, self).__init__()
        self.on_input = projection.role in self.feedforward
        width = projection.in_features if self.on_input else projection.out_features
        self.scale = nn.Parameter(torch.ones(groups, width))

    def forward(self, x: Tensor, base: nn.Linear, contexts: Contexts) -> Tensor:
        """[batch, seq, in] -> [batch, seq, out]."""
        scale = select_vectors(self.scale, contexts, x.dtype)
        return base(x * scale) if self.on_input else base(x) * scale

"""From image features to the language model's embeddings."""

import math
from typing import Literal

import torch
from torch import nn

ConnectorKind = Literal["none", "linear", "mlp"]


def make_connector(
    kind: ConnectorKind, encoder_width: int, width: int, dropout: float, seed: int
) -> nn.Sequential:
    """[..., encoder width] -> [..., width]; the draws come from `seed` alone.

    `linear`: dropout, then one linear layer (Context-PEFT paper, sections 3 and 4.1). `mlp`: layer norm, linear without
    bias, GELU, dropout, linear (the authors' later repository). `none`: no layer, for a model that reads no images.
    """
    if kind == "none":
        return nn.Sequential()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if kind == "linear":
            layers = [nn.Dropout(dropout), _linear(encoder_width, width, bias=True)]
        else:
            layers = [
                nn.LayerNorm(encoder_width), _linear(encoder_width, width, bias=False), nn.GELU(),
                nn.Dropout(dropout), _linear(width, width, bias=False),
            ]  # fmt: skip
    return nn.Sequential(*layers)


def _linear(inputs: int, outputs: int, bias: bool) -> nn.Linear:
    linear, bound = nn.Linear(inputs, outputs, bias=bias), 1 / math.sqrt(inputs)
    with torch.no_grad():
        for parameter in linear.parameters():
            parameter.uniform_(-bound, bound)
    return linear

"""The freezing ladder: which weights of a language model train beside its reward heads.

Source: the `frozen-*` configurations of the authors' follow-up code, and `trainable_backbone` and `frozen_params` of the
released code of Hadji-Kyriacou and Arandjelovic (2024), arXiv 2405.20053.
"""

from collections.abc import Iterator
from typing import Literal

from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from preftune.errors import PreftuneError


def freeze_weights(model: nn.Module, level: Literal["none", "blocks", "layers"]) -> None:
    """Set which weights of a whole model have a gradient; embeddings, final norm and output embedding always do.

    Raises:
        PreftuneError: the model has no transformer blocks that are known as such.
    """
    model.requires_grad_(True)
    if level == "none":
        return
    blocks = list(transformer_blocks(model))
    if not blocks:
        raise PreftuneError(
            f"{type(model).__name__} has no transformer blocks that could be frozen: set freeze to none, lora or model."
        )
    for block in blocks:
        frozen = [block] if level == "blocks" else matrix_layers(block)
        for module in frozen:
            module.requires_grad_(False)


def transformer_blocks(model: nn.Module) -> Iterator[nn.Module]:
    """The blocks of a transformers model: attention, feed-forward and their norms."""
    return (module for module in model.modules() if isinstance(module, GradientCheckpointingLayer))


def matrix_layers(block: nn.Module) -> Iterator[nn.Module]:
    """The layers of a block with a weight matrix, biases included: attention and feed-forward, not the norms."""
    for module in block.modules():
        weight = module._parameters.get("weight")
        if weight is not None and weight.dim() == 2:
            yield module

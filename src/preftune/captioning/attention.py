"""Attention of caption tokens to the image grid (Context-PEFT paper, figure 6)."""

import math

import torch
from torch import Tensor

from preftune.captioning.captioner import Captioner, caption_contexts
from preftune.errors import PreftuneError


@torch.no_grad()
def caption_attention(captioner: Captioner, features: Tensor, caption: list[int], layer: int) -> Tensor:
    """Attention of each caption token to the image in one layer, summed over heads [caption tokens, grid,
    grid].

    Teacher-forced on one image's features [N, encoder width] and a caption's ids; row i is the query at
    caption token i, which has read tokens 0..i. The paper's map of a span of words is the sum over its rows.
    """
    layers = captioner.language_model.config.num_hidden_layers
    if layer >= layers:
        raise PreftuneError(
            f"layer is {layer} but the language model has layers 0 to {layers - 1}: choose one of these."
        )
    images = captioner.embed_images(features[None])
    words = captioner.embed_tokens(torch.tensor([caption], device=features.device))
    weights = _attention_weights(captioner, torch.cat([images, words], dim=1), image=features.shape[0])[layer]
    count, side = features.shape[0], grid_side(features.shape[0])
    rows = weights[0].float().sum(dim=0)[1 + count :, 1 : 1 + count]  # [caption tokens, N]
    return rows.reshape(-1, side, side)


def grid_side(tokens: int) -> int:
    """Side of a square grid of image tokens."""
    side = math.isqrt(tokens)
    if side * side != tokens:
        raise PreftuneError(
            f"{tokens} image tokens are no square grid: choose an encoder with a square grid."
        )
    return side


def _attention_weights(captioner: Captioner, embeddings: Tensor, image: int) -> tuple[Tensor, ...]:
    """[rows, heads, queries, keys] of each layer; only the eager implementation returns weights."""
    model = captioner.language_model
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        with captioner.scope(caption_contexts(1, embeddings.shape[1], image, embeddings.device)):
            return model.base_model(
                inputs_embeds=embeddings, output_attentions=True, use_cache=False
            ).attentions
    finally:
        model.set_attn_implementation(before)

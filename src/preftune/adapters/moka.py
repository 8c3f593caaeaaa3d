"""MokA (2025), a baseline: a LoRA whose A is one per modality and whose B is shared, with a look from text to images.

    h = W x + B (A_m x + attend(A_text x, A_image X))    (the second term at text tokens only)

attend is softmax(q K^T / sqrt(r)) K over the tokens X of the token's own image. In the paper it is the image that attends
to the instruction; a caption is what is to be predicted here, so that only text may look back (docs/deviations.md).
"""

from typing import Any, cast

import torch
from torch import Tensor, nn

from preftune.adapters.contexts import Routing
from preftune.adapters.layers import compute_dtype
from preftune.adapters.lora import ContextLora
from preftune.errors import PreftuneError


class ContextMoka(ContextLora):
    """Groups `image` and `text` that share B."""

    foldable = False  # what a word adds depends on its image

    def update_layer(self, adapter_name: str, *arguments: Any, **options: Any) -> None:
        """Add a group, with the first one's B."""
        super().update_layer(adapter_name, *arguments, **options)
        first = next(iter(self.lora_B))
        cast(nn.Linear, self.lora_B[adapter_name]).weight = cast(nn.Linear, self.lora_B[first]).weight

    def adapt(self, x: Tensor, routing: Routing) -> Tensor:
        """[rows, seq, in] -> [rows, seq, out]."""
        if set(self.groups()) != {"image", "text"}:
            raise PreftuneError(
                "MokA has the groups image and text: leave out groups, and set context: specific."
            )
        dtype = compute_dtype(x)
        flat = x.flatten(0, 1).to(dtype)
        image, text_low = (
            (flat @ self.weights(name)[0].to(dtype).t()) * routing.selection(name, dtype)
            for name in ("image", "text")
        )
        low = image + text_low
        keys, owner = self._images(low, routing)
        text = routing.index("text")
        text = text[owner[text] >= 0]
        if len(text):
            query, seen = low[text], keys[owner[text]]  # [n, rank], [n, tokens of an image, rank]
            weights = (torch.einsum("nr,nkr->nk", query, seen) / query.shape[-1] ** 0.5).softmax(dim=-1)
            low = low.index_add(0, text, torch.einsum("nk,nkr->nr", weights, seen))
        update = low @ self.weights("text")[1].to(dtype).t()
        return self.base_layer(x) + update.view(*x.shape[:2], -1)

    def _images(self, low: Tensor, routing: Routing) -> tuple[Tensor, Tensor]:
        """Keys [copies, tokens of an image, rank], and whose image each token follows [rows * seq] (-1: none).

        An example starts with BOS, right before its image.
        """
        contexts, places = routing.contexts, torch.arange(len(low), device=low.device)
        if contexts.images is not None:
            keys = low[contexts.images]
            owner = torch.searchsorted(contexts.images[:, 0] - 1, places, right=True) - 1
            owner = torch.where(places > contexts.images[owner, -1], owner, -1)
            if contexts.memory is not None:
                contexts.memory[id(self)] = keys
            return keys, owner
        if contexts.memory is not None and id(self) in contexts.memory:
            return contexts.memory[id(self)], places // contexts.length
        return low[:0, None], torch.full_like(places, -1)

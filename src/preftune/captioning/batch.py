"""Batches of image features and tokenised captions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class CaptionBatch:
    """features [images, tokens, width]; targets [captions, longest] with EOS, padded; lengths [captions] with
    EOS.

    `image` [captions] is the row of `features` that each caption describes.
    """

    features: Tensor
    targets: Tensor
    lengths: Tensor
    image: Tensor

    @property
    def mask(self) -> Tensor:
        """True at caption tokens and EOS [captions, longest]; from lengths, as PAD may share EOS's id."""
        return torch.arange(self.targets.shape[1], device=self.targets.device) < self.lengths[:, None]


def tokenize_captions(
    tokenizer: PreTrainedTokenizerBase, captions: Sequence[str], max_tokens: int
) -> tuple[list[list[int]], int]:
    """Token ids of each caption, cut to `max_tokens` (without EOS), and how many captions were cut."""
    ids = [tokenizer(caption, add_special_tokens=False)["input_ids"] for caption in captions]
    return [row[:max_tokens] for row in ids], sum(len(row) > max_tokens for row in ids)


def collate(
    features: np.ndarray,
    captions: Sequence[Sequence[int]],
    eos: int,
    device: torch.device,
    image: Sequence[int] | None = None,
) -> CaptionBatch:
    """Join features [images, tokens, width] and caption ids (without EOS) into a batch on `device`.

    `image[i]` is the image of caption i; None: caption i describes image i. Rows are padded on the right,
    where causal attention hides the padding from every token that counts.
    """
    lengths = [len(caption) + 1 for caption in captions]
    rows = [[*caption, *[eos] * (max(lengths) - len(caption))] for caption in captions]
    return CaptionBatch(
        features=torch.from_numpy(features).to(device),
        targets=torch.tensor(rows, device=device),
        lengths=torch.tensor(lengths, device=device),
        image=torch.tensor(list(image) if image is not None else list(range(len(rows))), device=device),
    )

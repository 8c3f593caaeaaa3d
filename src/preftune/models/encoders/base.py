"""What every frozen image encoder offers to the feature rule."""

from typing import Protocol, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn


class ImageEncoder(Protocol):
    """A frozen encoder that turns an image into a grid of feature vectors, row by row.

    Attributes: `name` (architecture), `grid` (rows, columns), `width` (features per token), `image_size`
    (pixels of a side).
    """

    name: str
    grid: tuple[int, int]
    width: int
    image_size: int

    def preprocess(self, image: Image.Image) -> Tensor:
        """Return the network's input `[3, image_size, image_size]` of an RGB image."""
        ...

    def encode(self, batch: Tensor) -> Tensor:
        """Return features `[batch, rows * columns, width]` of inputs `[batch, 3, image_size, image_size]`."""
        ...


class FrozenModule(nn.Module):
    """A module that stays in eval mode, also when one that holds it is told to train.

    In training mode batch norms would take in the statistics of our images, and SwinV2's drop path would make features
    random.
    """

    def train(self, mode: bool = True) -> Self:
        """Keep eval mode, whatever `mode` says."""
        return super().train(False)

    def freeze(self) -> None:
        """Enter eval mode and stop all gradients."""
        self.eval().requires_grad_(False)


def square_pixels(image: Image.Image, size: int) -> Tensor:
    """Resize the shorter side to `size`, crop the centre, and return pixels `[3, size, size]`, 0 to 255,
    fp32.

    The whole of the shorter side is kept (no 87.5 % crop as in classification): captions speak of the
    borders too.
    """
    width, height = image.size
    scale = size / min(width, height)
    resized = image.resize(
        (max(size, round(width * scale)), max(size, round(height * scale))), Image.Resampling.BICUBIC
    )
    left, top = (resized.width - size) // 2, (resized.height - size) // 2
    pixels = np.array(resized.crop((left, top, left + size, top + size)).convert("RGB"), dtype=np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1)  # [3, size, size]

"""Any `transformers` vision model in a local folder as an image encoder (the papers' SwinV2 first of all)."""

import math
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import AutoImageProcessor, AutoModel

from preftune.errors import PreftuneError
from preftune.models.encoders.base import square_pixels

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class TransformersEncoder(nn.Module):
    """Frozen vision model whose `last_hidden_state` (after the final LayerNorm) gives the tokens.

    SwinV2-Tiny at 256 pixels gives 8 x 8 = 64 tokens of 768. A leading class token, if there is one, is
    dropped. Strictly offline: the folder holds `config.json` and weights, and `preprocessor_config.json` if
    the model has its own preprocessing; without it, pixels are resized to the model's image size and
    normalised as ImageNet's.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        try:
            self.model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
        except (OSError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise PreftuneError(
                f"{folder} is not a transformers vision model ({reason}): fetch it again."
            ) from error
        self.eval().requires_grad_(False)  # SwinV2's drop path would make features random in training mode
        self.processor = None
        if (folder / "preprocessor_config.json").is_file():
            self.processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        self.name = str(self.model.config.model_type)
        self.image_size = int(self.model.config.image_size)
        with torch.inference_mode():
            states = self.model(
                pixel_values=torch.zeros(1, 3, self.image_size, self.image_size)
            ).last_hidden_state
        tokens, self.width = states.shape[1:]
        side = math.isqrt(tokens)
        self.first_token = tokens - side * side
        if self.first_token > 1:
            raise PreftuneError(
                f"{folder} gives {tokens} image tokens, not a square grid: use another encoder."
            )
        self.grid = (side, side)

    def preprocess(self, image: Image.Image) -> Tensor:
        """Return `[3, image_size, image_size]` by the folder's preprocessing, else ImageNet's."""
        if self.processor is not None:
            return self.processor(images=image, return_tensors="pt")["pixel_values"][0]
        mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        return (square_pixels(image, self.image_size) / 255.0 - mean[:, None, None]) / std[:, None, None]

    @torch.inference_mode()
    def encode(self, batch: Tensor) -> Tensor:
        """Return `[batch, rows * columns, width]` of inputs `[batch, 3, image_size, image_size]`."""
        return self.model(pixel_values=batch).last_hidden_state[:, self.first_token :]

"""Any `transformers` vision model in a local folder as an image encoder (the papers' SwinV2 first of all)."""

import math
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig

from preftune.errors import PreftuneError
from preftune.files import read_json
from preftune.models.encoders.base import FrozenModule, square_pixels

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# CLIP's last layer serves its class token alone; its patches are read one layer earlier, as in LLaVA and in the
# Context-PEFT authors' repository.
PENULTIMATE = ("clip", "clip_vision_model")


class TransformersEncoder(FrozenModule):
    """Frozen vision model whose patch states are the tokens; class, distillation and register tokens are dropped.

    The states are `last_hidden_state` (after the final LayerNorm), of CLIP those before its last layer. SwinV2-Tiny at
    256 pixels gives 8 x 8 = 64 tokens of 768. Of a model of images and texts only the vision tower is kept.

    Strictly offline: the folder holds `config.json`, `preprocessor_config.json` and weights. Pixels are resized and cropped as for every encoder
    (`square_pixels`) to the configured image size, then scaled and normalised as its `preprocessor_config.json` says.

    Raises:
        PreftuneError: the folder holds no vision model, lacks some of its weights, or its states form no square grid.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        config, self.model = load_vision_model(folder)
        self.freeze()
        self.name = str(config.model_type)
        self.penultimate = self.name in PENULTIMATE
        self.image_size = find_image_size(folder, vision_config(config))
        self.scale, self.mean, self.std = read_normalisation(folder)
        with torch.inference_mode():
            states = self._states(torch.zeros(1, 3, self.image_size, self.image_size))
        tokens, self.width = states.shape[1:]
        side = find_side(folder, vision_config(config), self.image_size, tokens)
        self.first_token = tokens - side * side
        self.grid = (side, side)

    def preprocess(self, image: Image.Image) -> Tensor:
        """Return `[3, image_size, image_size]`, scaled and normalised by the folder's preprocessing."""
        return (square_pixels(image, self.image_size) * self.scale - self.mean) / self.std

    @torch.inference_mode()
    def encode(self, batch: Tensor) -> Tensor:
        """Return `[batch, rows * columns, width]` of inputs `[batch, 3, image_size, image_size]`."""
        return self._states(batch)[:, self.first_token :]

    def _states(self, batch: Tensor) -> Tensor:
        """States of all tokens `[batch, tokens, width]`."""
        output = self.model(pixel_values=batch, output_hidden_states=self.penultimate)
        states: Tensor = output.hidden_states[-2] if self.penultimate else output.last_hidden_state
        return (
            states.flatten(2).transpose(1, 2) if states.dim() == 4 else states
        )  # [batch, width, rows, columns]


def vision_config(config: PretrainedConfig) -> PretrainedConfig:
    """Return the part of a config that describes the vision tower."""
    return getattr(config, "vision_config", config)


def load_vision_model(folder: Path) -> tuple[PretrainedConfig, nn.Module]:
    """Return the config and the vision tower in fp32; a checkpoint without all its weights raises PreftuneError."""
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        model, report = AutoModel.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise PreftuneError(
            f"{folder} is not a transformers vision model ({reason}): fetch it again."
        ) from error
    # The pooler's output is not read, and classifiers come without one.
    missing = sorted(name for name in report["missing_keys"] if "pooler" not in name)
    if missing:
        raise PreftuneError(
            f"{folder}: the checkpoint lacks {missing[0]} ({len(missing)} tensors in all), which would be random: "
            "fetch it again."
        )
    return config, getattr(model, "vision_model", model)


def find_image_size(folder: Path, config: PretrainedConfig) -> int:
    """Return the pixels of a side; a config without a size, or with that of a rectangle, raises PreftuneError."""
    size = getattr(config, "image_size", None)
    sides = list(size) if isinstance(size, list | tuple) else [size]
    side = sides[0] if len(set(sides)) == 1 else None
    if not isinstance(side, int):
        raise PreftuneError(
            f"{folder / 'config.json'} names no square image_size (found {size}): use a vision model of square images."
        )
    return side


def find_side(folder: Path, config: PretrainedConfig, image_size: int, tokens: int) -> int:
    """Return the side of the square grid that the last of `tokens` tokens form.

    A plain transformer has (image size / patch size)^2 patches after its class, distillation and register tokens; a
    hierarchical one has merged some of its patches and has no other tokens.
    """
    patch = getattr(config, "patch_size", None)
    patches = image_size // patch if isinstance(patch, int) else 0
    if 0 < patches * patches <= tokens:
        # Detection tokens, which some families append, must not be taken for leading ones.
        side, special = patches, 2 + getattr(config, "num_register_tokens", 0)
    else:
        side, special = math.isqrt(tokens), 0
    if tokens - side * side > special:
        raise PreftuneError(
            f"{folder} gives {tokens} image tokens, which are no square grid after class and register tokens: "
            "use another encoder."
        )
    return side


def read_normalisation(folder: Path) -> tuple[float, Tensor, Tensor]:
    """Return the factor of pixels 0 to 255, then mean and deviation [3, 1, 1]; what the file leaves out is ImageNet's.

    Raises:
        PreftuneError: the folder has no `preprocessor_config.json`: guessed pixels would be silently wrong features.
    """
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        raise PreftuneError(
            f"{folder} has no preprocessor_config.json, which says how pixels are scaled: copy it from the model's "
            "repository."
        )
    settings: dict[str, Any] = read_json(path)
    scale = settings.get("rescale_factor", 1 / 255) if settings.get("do_rescale", True) else 1.0
    mean, std = settings.get("image_mean", IMAGENET_MEAN), settings.get("image_std", IMAGENET_STD)
    if not settings.get("do_normalize", True):
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    return scale, torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]

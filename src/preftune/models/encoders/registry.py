"""Which class loads which encoder folder."""

from pathlib import Path

import torch

from preftune.errors import PreftuneError
from preftune.files import read_json
from preftune.models.encoders.base import ImageEncoder
from preftune.models.encoders.efficientnet_lite import SCALINGS, load_efficientnet

CPU = torch.device("cpu")


def load_encoder(folder: Path, device: torch.device = CPU) -> ImageEncoder:
    """Return the frozen encoder of a folder with `config.json` and `model.safetensors`, in eval mode.

    `architecture` in config.json names one of ours; a `transformers` config (`model_type`) is loaded as such.
    Anything else raises PreftuneError.
    """
    config = read_json(folder / "config.json")
    architecture = config.get("architecture")
    if architecture in SCALINGS:
        return load_efficientnet(folder, architecture).to(device)
    if architecture is None and "model_type" in config:
        # imported here: transformers takes seconds, which the convolutional encoders need not pay
        from preftune.models.encoders.transformers_vision import TransformersEncoder

        return TransformersEncoder(folder).to(device)
    raise PreftuneError(
        f"{folder / 'config.json'} names no known encoder (architecture: {architecture}): "
        f"use one of {', '.join(SCALINGS)} or a transformers vision model."
    )

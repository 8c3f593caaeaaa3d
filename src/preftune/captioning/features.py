"""Features of every image, computed once by a frozen encoder and read back memory-mapped."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from preftune.data.coco import open_rgb
from preftune.errors import PreftuneError
from preftune.files import write_json
from preftune.models.encoders.base import ImageEncoder
from preftune.progress import track

BLANK_IMAGE_ID = -1  # the row of the blank image, the control for "does the captioner look?"
BLANK_GREY = 127  # zero after (x - 127) / 128


def blank_image(size: int) -> Image.Image:
    """Return a uniform mid-grey picture."""
    return Image.new("RGB", (size, size), (BLANK_GREY, BLANK_GREY, BLANK_GREY))


def describe_encoder(encoder: ImageEncoder) -> dict[str, object]:
    """Return what readers of the features need to know of their encoder."""
    return {
        "name": encoder.name,
        "grid": list(encoder.grid),
        "width": encoder.width,
        "image_size": encoder.image_size,
    }


def encode_files(encoder: ImageEncoder, paths: list[Path | None], device: torch.device) -> np.ndarray:
    """Return float16 features `[files, tokens, width]`; None stands for the blank image."""
    pictures = [blank_image(encoder.image_size) if path is None else open_rgb(path)[0] for path in paths]
    inputs = torch.stack([encoder.preprocess(picture) for picture in pictures])  # [files, 3, size, size]
    features = encoder.encode(inputs.to(device)).to(torch.float16).cpu().numpy()
    if not np.isfinite(features).all():
        bad = paths[int(np.argmin(np.isfinite(features).all(axis=(1, 2))))]
        raise PreftuneError(
            f"The features of {bad or 'the blank image'} exceed float16: take another encoder."
        )
    return features


def compute_features(
    encoder: ImageEncoder, images: pd.DataFrame, raw: Path, output: Path, batch: int, device: torch.device
) -> tuple[int, int, int]:
    """Encode the files of `images` (columns image_id, file) and the blank image; return the shape written.

    Writes to the folder `output`: `features.npy` float16 `[images + 1, tokens, width]`, `index.parquet`
    (image_id, row; the blank image is -1 and last) and `encoder.json` (name, grid, width, image_size). An
    image that does not decode or features that float16 cannot hold raise PreftuneError.
    """
    output.mkdir(parents=True, exist_ok=True)
    paths: list[Path | None] = [*(raw / file for file in images["file"]), None]
    shape = (len(paths), encoder.grid[0] * encoder.grid[1], encoder.width)
    features = np.lib.format.open_memmap(output / "features.npy", mode="w+", dtype=np.float16, shape=shape)
    for start in track(range(0, len(paths), batch), f"features, {encoder.name}", unit="step"):
        features[start : start + batch] = encode_files(encoder, paths[start : start + batch], device)
    features.flush()
    index = pd.DataFrame({"image_id": [*images["image_id"], BLANK_IMAGE_ID], "row": range(len(paths))})
    index.to_parquet(output / "index.parquet", index=False)
    write_json(output / "encoder.json", describe_encoder(encoder))
    return shape

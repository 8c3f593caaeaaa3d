"""Features of every view of every image by a frozen encoder: computed once and stored, or on the fly."""

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from preftune.captioning.store import BLANK_IMAGE_ID
from preftune.captioning.views import PLAIN, make_view
from preftune.data.pictures import open_picture
from preftune.errors import PreftuneError
from preftune.files import write_json
from preftune.models.encoders.base import ImageEncoder
from preftune.progress import track
from preftune.settings.captioning import FeatureSettings

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


@dataclass(frozen=True)
class OnlineFeatures:
    """Features encoded from the image files whenever they are asked for; a `FeatureSource`.

    They are those that compute_features stores: bit for bit where a picture is encoded in a batch of the same size, else up
    to the encoder's rounding.

    Attributes:
        files: image id -> file.
        counts: image id -> number of views.
        seed: with image id and view it decides a view's draws.
    """

    encoder: ImageEncoder
    files: Mapping[int, Path]
    counts: Mapping[int, int]
    settings: FeatureSettings
    seed: int
    device: torch.device

    @property
    def shape(self) -> tuple[int, int]:
        """Tokens and width of one picture's features."""
        return self.encoder.grid[0] * self.encoder.grid[1], self.encoder.width

    def views(self, image_id: int) -> int:
        """Number of views of an image; 0 for one that is not there."""
        return self.counts.get(image_id, 0)

    def take(self, image_ids: Sequence[int], views: Sequence[int]) -> np.ndarray:
        """Features [images, tokens, width] of one view of each image, fp32 with the values of float16."""
        pictures = {image: self._picture(image) for image in dict.fromkeys(image_ids)}
        pairs = list(zip(image_ids, views, strict=True))
        inputs = torch.stack([
            self.encoder.preprocess(make_view(pictures[image], self.settings, self.seed, image, view))
            for image, view in pairs
        ])  # [images, 3, size, size]  # fmt: skip
        features = self.encoder.encode(inputs.to(self.device)).half().float().cpu().numpy()
        if not np.isfinite(features).all():
            image, view = pairs[int(np.argmin(np.isfinite(features).all(axis=(1, 2))))]
            raise PreftuneError(
                f"The features of {self.files.get(image, 'the blank image')}, view {view}, exceed float16: take another "
                "encoder."
            )
        return features

    def _picture(self, image: int) -> Image.Image:
        if image == BLANK_IMAGE_ID:
            return blank_image(self.encoder.image_size)
        return open_picture(self.files[image]).image


def list_images(
    encoder: ImageEncoder,
    images: pd.DataFrame,
    raw: Path,
    settings: FeatureSettings,
    seed: int,
    device: torch.device,
) -> OnlineFeatures:
    """The features of the files of `images` (columns image_id, split, file) and of the blank image, last.

    Training images have `settings.views` views; the others, which only evaluation reads, the plain one alone.
    """
    rows = list(zip(images["image_id"].tolist(), images["split"], images["file"], strict=True))
    counts = {image: settings.views if split == "train" else 1 for image, split, _ in rows}
    files = {image: raw / file for image, _, file in rows}
    return OnlineFeatures(encoder, files, counts | {BLANK_IMAGE_ID: 1}, settings, seed, device)


def store_features(source: OnlineFeatures, output: Path) -> tuple[int, ...]:
    """Encode every view of every image of `source` once; return the shape written.

    Writes to the folder `output`: `features.npy` float16 `[rows, tokens, width]`, `index.parquet` (image_id, row, views:
    the views of an image are `views` consecutive rows from `row` on, the plain picture first; the blank image is -1 and
    last) and `encoder.json` (name, grid, width, image_size). With one view a row is an image. A picture that does not
    decode, features that float16 cannot hold and a disk without room for them raise PreftuneError.
    """
    output.mkdir(parents=True, exist_ok=True)
    pairs = [(image, view) for image, count in source.counts.items() for view in range(PLAIN, count)]
    shape = (len(pairs), *source.shape)
    check_space(output, math.prod(shape) * 2)
    features = np.lib.format.open_memmap(output / "features.npy", mode="w+", dtype=np.float16, shape=shape)
    batch = source.settings.batch
    for start in track(range(0, len(pairs), batch), f"features, {source.encoder.name}", unit="step"):
        image_ids, views = zip(*pairs[start : start + batch], strict=True)
        features[start : start + batch] = source.take(image_ids, views)
    features.flush()
    counts = list(source.counts.values())
    index = pd.DataFrame(
        {"image_id": list(source.counts), "row": np.cumsum([0, *counts[:-1]]), "views": counts}
    )
    index.to_parquet(output / "index.parquet", index=False)
    write_json(output / "encoder.json", describe_encoder(source.encoder))
    return shape


def check_space(folder: Path, needed: int) -> None:
    """Raise PreftuneError where `needed` bytes do not fit: a mapped file would only end in a bus error."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise PreftuneError(
            f"The features need {needed / 1e9:,.0f} GB, but {free / 1e9:,.0f} GB are left on the disk that holds "
            f"{folder.parent}: free some space, or set features.views to fewer."
        )

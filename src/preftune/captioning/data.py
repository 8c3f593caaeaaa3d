"""Captioned images with their precomputed features, read from the prepared folders."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from preftune.errors import PreftuneError

BLANK_IMAGE_ID = -1
"""The image id under which a feature folder holds an all-grey image, the control of captioning runs."""


@dataclass(frozen=True)
class CaptionedImages:
    """Images of one split: ids, files, captions and the row of each one's features.

    features [all images, tokens, width], float16, memory-mapped; `blank` [tokens, width] are those of a grey
    image.
    """

    image_ids: list[int]
    files: list[str]
    captions: list[list[str]]
    rows: list[int]
    features: np.ndarray
    blank: np.ndarray

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def tokens(self) -> int:
        """Image tokens of one image."""
        return int(self.features.shape[1])

    @property
    def width(self) -> int:
        """Width of the encoder's features."""
        return int(self.features.shape[2])

    def take(self, indices: list[int]) -> np.ndarray:
        """Features [len(indices), tokens, width] in fp32."""
        return self.features[[self.rows[index] for index in indices]].astype(np.float32)


def load_captioned_images(
    captions: Path, features: Path, split: str, limit: int | None = None
) -> CaptionedImages:
    """The first `limit` images of a split (None: all) with their captions in order and their features."""
    images = _read_table(Path(captions) / "images.parquet", ("image_id", "split", "file"))
    sentences = _read_table(Path(captions) / "captions.parquet", ("image_id", "caption_index", "caption"))
    images = images[images["split"] == split].head(limit if limit is not None else len(images))
    if images.empty:
        raise PreftuneError(f"{captions} holds no image of split {split}: prepare the captions again.")
    values, index = _read_features(Path(features))
    by_image = sentences.sort_values("caption_index").groupby("image_id")["caption"].apply(list).to_dict()
    for image in [BLANK_IMAGE_ID, *images["image_id"]]:
        if image not in index:
            raise PreftuneError(f"{features} has no features of image {image}: compute the features again.")
        if image != BLANK_IMAGE_ID and image not in by_image:
            raise PreftuneError(
                f"{captions}/captions.parquet has no caption of image {image}: prepare it again."
            )
    identifiers = [int(image) for image in images["image_id"]]
    return CaptionedImages(
        image_ids=identifiers,
        files=[str(file) for file in images["file"]],
        captions=[by_image[image] for image in identifiers],
        rows=[index[image] for image in identifiers],
        features=values,
        blank=values[index[BLANK_IMAGE_ID]].astype(np.float32),
    )


def _read_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    try:
        return pd.read_parquet(path, columns=list(columns))
    except FileNotFoundError as error:
        raise PreftuneError(f"{path} does not exist: run the step that prepares it.") from error
    except (OSError, ValueError) as error:
        raise PreftuneError(
            f"{path} is not a table with {', '.join(columns)} ({error}): make it again."
        ) from error


def _read_features(folder: Path) -> tuple[np.ndarray, dict[int, int]]:
    path = folder / "features.npy"
    try:
        values = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise PreftuneError(f"{path} cannot be read ({error}): compute the features again.") from error
    index = _read_table(folder / "index.parquet", ("image_id", "row"))
    if values.ndim != 3 or (len(index) and int(index["row"].max()) >= values.shape[0]):
        raise PreftuneError(
            f"{path} is {list(values.shape)}, not [images, tokens, width] with the {len(index)} rows of "
            "its index: compute the features again."
        )
    return values, {int(image): int(row) for image, row in zip(index["image_id"], index["row"], strict=True)}

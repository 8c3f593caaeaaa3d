"""Where a captioner's image features come from: what every source offers, and the one that reads a folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import torch

from preftune.errors import PreftuneError

BLANK_IMAGE_ID = -1
"""The image id of a uniform grey picture, the control for "does the captioner look?"."""


class FeatureSource(Protocol):
    """Features by image id and view; view 0 is the plain picture, which every image has."""

    @property
    def shape(self) -> tuple[int, int]:
        """Tokens and width of one picture's features."""

    def views(self, image_id: int) -> int:
        """Number of views of an image, the plain one counted; 0 for an image that is not there."""

    def take(self, image_ids: Sequence[int], views: Sequence[int]) -> np.ndarray:
        """Features [images, tokens, width] of one view of each image, fp32 with the values of float16."""


@dataclass(frozen=True)
class StoredFeatures:
    """A folder of features, memory-mapped: what is not read costs no memory.

    Attributes:
        values: [rows, tokens, width], float16.
        places: image id -> its first row and its number of views, which are consecutive rows.
    """

    values: np.ndarray
    places: Mapping[int, tuple[int, int]]

    @property
    def shape(self) -> tuple[int, int]:
        """Tokens and width of one picture's features."""
        return self.values.shape[1], self.values.shape[2]

    def views(self, image_id: int) -> int:
        """Number of views of an image; 0 for one that is not there."""
        return self.places.get(image_id, (0, 0))[1]

    def take(self, image_ids: Sequence[int], views: Sequence[int]) -> np.ndarray:
        """Features [images, tokens, width] of one view of each image, fp32."""
        rows = [self.places[image][0] + view for image, view in zip(image_ids, views, strict=True)]
        # torch turns half to single precision three times as fast as numpy.
        return torch.from_numpy(self.values[rows]).float().numpy()


def open_features(folder: Path) -> StoredFeatures:
    """Map `features.npy` of a folder that compute_features wrote; a damaged or foreign one raises PreftuneError."""
    path = Path(folder) / "features.npy"
    try:
        values = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise PreftuneError(
            f"{path} cannot be read ({error}): compute the features again (snakemake --cores 2 {folder})."
        ) from error
    index = read_table(Path(folder) / "index.parquet", ("image_id", "row", "views"))
    ends = index["row"] + index["views"]
    if values.ndim != 3 or ends.max() > values.shape[0]:
        raise PreftuneError(
            f"{path} is {list(values.shape)}, not [rows, tokens, width] with the {ends.max()} rows of its index: compute "
            "the features again."
        )
    columns = (index[name].tolist() for name in ("image_id", "row", "views"))
    return StoredFeatures(values, {image: (row, views) for image, row, views in zip(*columns, strict=True)})


def read_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """Read columns of a Parquet file; an absent or foreign one raises PreftuneError."""
    try:
        return pd.read_parquet(path, columns=list(columns))
    except FileNotFoundError as error:
        raise PreftuneError(f"{path} does not exist: run the step that prepares it.") from error
    except (OSError, ValueError) as error:
        raise PreftuneError(
            f"{path} is not a table with {', '.join(columns)} ({error}): make it again."
        ) from error

"""Reading images for figures: as the encoders see them, and each that is missing or damaged is named."""

from pathlib import Path

import numpy as np

from preftune.data.pictures import open_picture
from preftune.errors import PreftuneError


def read_image(root: Path, file: str) -> np.ndarray:
    """Decode the image `file` below `root` to RGB bytes `[height, width, 3]`."""
    path = Path(root) / file
    if not path.is_file():
        raise PreftuneError(f"{path} does not exist: give the folder that holds the images with --images.")
    return np.asarray(open_picture(path).image)

"""Reading images for figures: an image that is missing or does not decode is named."""

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from preftune.errors import PreftuneError


def read_image(root: Path, file: str) -> np.ndarray:
    """Decode the image `file` below `root` to RGB bytes `[height, width, 3]`."""
    path = Path(root) / file
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except FileNotFoundError as error:
        raise PreftuneError(
            f"{path} does not exist: give the folder that holds the images with --images."
        ) from error
    except (UnidentifiedImageError, OSError) as error:
        raise PreftuneError(f"{path} does not decode as an image: fetch or copy it again.") from error

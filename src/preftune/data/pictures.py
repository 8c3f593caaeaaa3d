"""Decoding of pictures: one way for listing, encoding and showing them, and one sentence for each that is no use."""

import warnings
from pathlib import Path
from typing import NamedTuple

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from preftune.errors import PreftuneError

REMEDY = "fetch or copy it again, or remove it from the data"


class Picture(NamedTuple):
    """A decoded picture: RGB and upright, with the mode and (width, height) that its file stores, and whether its EXIF
    orientation turned or mirrored it.
    """

    image: Image.Image
    mode: str
    stored_size: tuple[int, int]
    turned: bool


def open_picture(path: Path) -> Picture:
    """Decode a picture to 8-bit RGB, as its viewers saw it when they wrote its captions.

    Its EXIF orientation is applied, what is transparent lies on white, 16-bit grey keeps its upper byte, CMYK and
    palettes are converted. A file that is missing, empty, damaged, truncated, with 32-bit pixels, or larger than Pillow's
    limit against decompression bombs (89 million pixels) raises PreftuneError.
    """
    try:
        if path.stat().st_size == 0:
            raise PreftuneError(f"The image {path} is an empty file: {REMEDY}.")
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                turned = image.getexif().get(ExifTags.Base.Orientation) in range(2, 9)
                return Picture(to_rgb(ImageOps.exif_transpose(image), path), image.mode, image.size, turned)
    except PreftuneError:
        raise
    except FileNotFoundError as error:
        raise PreftuneError(f"The image {path} does not exist: {REMEDY}.") from error
    except UnidentifiedImageError as error:
        raise PreftuneError(f"The image {path} does not decode (of no known format): {REMEDY}.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PreftuneError(
            f"The image {path} has more than {Image.MAX_IMAGE_PIXELS:,} pixels, as files made to fill the memory have: "
            "make it smaller, or remove it from the data."
        ) from error
    except Exception as error:  # Pillow's decoders raise many kinds for damaged files
        raise PreftuneError(f"The image {path} does not decode ({error}): {REMEDY}.") from error


def to_rgb(image: Image.Image, path: Path) -> Image.Image:
    """Convert a picture of any 8- or 16-bit mode; `path` is for the message about others."""
    if image.mode in ("I", "F"):
        raise PreftuneError(
            f"The image {path} has 32-bit pixels, whose white is not defined: save it with 8 bits a channel."
        )
    if image.mode.startswith("I;16"):
        # Pillow's own conversion clips at 255, which leaves a white picture.
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    if image.has_transparency_data:
        # Pillow's own conversion shows what lies under transparent pixels, mostly black.
        cut_out = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), cut_out)
    return image.convert("RGB")

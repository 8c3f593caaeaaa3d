"""The caption gallery of the report: images shrunk and embedded, captions as text that can be searched."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from preftune.figures.gallery import read_pictures
from preftune.figures.images import read_image

LARGEST_SIDE = 240


@dataclass(frozen=True)
class PictureView:
    """One image as base64 PNG with its captions and one reference."""

    image_id: int
    png: str
    captions: dict[str, str]
    reference: str


def embed_image(root: Path, file: str) -> str:
    """Base64 PNG of an image, no side above 240 pixels."""
    image = Image.fromarray(read_image(root, file))
    image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode()


def read_gallery(captions: Sequence[Path], root: Path, count: int) -> list[PictureView]:
    """The first `count` images of the captions files `<run>/seed-<n>.jsonl`."""
    return [
        PictureView(picture.image_id, embed_image(root, picture.file), picture.captions, picture.reference)
        for picture in read_pictures(captions, count)
    ]

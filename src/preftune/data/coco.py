"""COCO's caption files: which images there are, and what people said of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preftune.errors import PreftuneError
from preftune.files import read_json


@dataclass(frozen=True)
class ListedImage:
    """An image as its annotations describe it.

    Attributes:
        path: the picture's file, which nobody has opened yet.
        captions: in the annotations' order, at least one.
        size: (width, height); None where the annotations are silent.
    """

    image_id: int
    path: Path
    captions: list[str]
    size: tuple[int, int] | None


def find_folder(raw: Path, name: str) -> Path:
    """Return the folder that holds `name` (`annotations`, or Karpathy's file): `raw` itself or `raw/coco`."""
    for folder in (raw, raw / "coco"):
        if (folder / name).exists():
            return folder
    raise PreftuneError(f"Neither {raw} nor {raw / 'coco'} holds '{name}': check data_root.")


def read_coco(folder: Path, source: str) -> list[ListedImage]:
    """Return the images of `annotations/captions_<source>.json`, whose pictures lie in the folder `source`."""
    images, captions = read_annotations(folder / "annotations" / f"captions_{source}.json")
    return [
        ListedImage(
            int(image["id"]),
            folder / source / image["file_name"],
            captions[image["id"]],
            (image["width"], image["height"]) if image.get("width") and image.get("height") else None,
        )
        for image in images
    ]


def read_annotations(path: Path) -> tuple[list[dict[str, Any]], dict[int, list[str]]]:
    """Return the images and the captions by image id of a COCO caption file, in the file's order.

    An empty or damaged file, an image given twice or without captions, a caption without text or without its
    image raises PreftuneError.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not content.get("images") or not content.get("annotations"):
        raise PreftuneError(f"{path} holds no images or no annotations of COCO's layout: fetch it again.")
    captions: dict[int, list[str]] = {}
    for row, image in enumerate(content["images"], start=1):
        if not isinstance(image, dict) or "id" not in image or "file_name" not in image:
            raise PreftuneError(f"{path}, images, row {row} has no id or no file_name: fetch the file again.")
        if image["id"] in captions:
            raise PreftuneError(
                f"{path}, images, row {row}: image {image['id']} is given twice: remove a row."
            )
        captions[image["id"]] = []
    for row, annotation in enumerate(content["annotations"], start=1):
        caption = str(annotation.get("caption") or "").strip() if isinstance(annotation, dict) else ""
        if not caption:
            raise PreftuneError(
                f"{path}, annotations, row {row} has no caption: remove it or fetch it again."
            )
        owner = annotation.get("image_id")
        if owner not in captions:
            raise PreftuneError(
                f"{path}, annotations, row {row} belongs to image {owner}, "
                "which is not listed: fetch the file again."
            )
        captions[owner].append(caption)
    for image in content["images"]:
        if not captions[image["id"]]:
            name = f"image {image['id']} ({image['file_name']})"
            raise PreftuneError(f"{path}: {name} has no caption: remove it or fetch the file again.")
    return content["images"], captions

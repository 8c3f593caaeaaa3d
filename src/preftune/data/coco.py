"""Captioned images in COCO's layout: annotation files and folders of pictures into two tables."""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from preftune.errors import PreftuneError
from preftune.files import read_json
from preftune.progress import track


def coco_folder(raw: Path) -> Path:
    """Return the folder that holds `annotations/`: `raw` itself or `raw/coco`."""
    for folder in (raw, raw / "coco"):
        if (folder / "annotations").is_dir():
            return folder
    raise PreftuneError(f"Neither {raw} nor {raw / 'coco'} holds a folder 'annotations': check data_root.")


def open_rgb(path: Path) -> tuple[Image.Image, str]:
    """Return the decoded picture in RGB and the mode it was stored in; else PreftuneError."""
    try:
        with Image.open(path) as image:
            mode = image.mode
            return image.convert("RGB"), mode
    except FileNotFoundError as error:
        raise PreftuneError(f"The image {path} does not exist: fetch or copy it again.") from error
    except Exception as error:  # Pillow's decoders raise many kinds for damaged files
        raise PreftuneError(f"The image {path} does not decode ({error}): fetch or copy it again.") from error


@dataclass
class CaptionedImages:
    """Rows of `images.parquet` and `captions.parquet`, and what had to be mended on the way."""

    images: list[dict[str, Any]] = field(default_factory=list)
    captions: list[dict[str, Any]] = field(default_factory=list)
    converted_to_rgb: int = 0
    size_differs: int = 0


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


def read_split(
    raw: Path, source: str, split: str, limit: int | None, seed: int, found: CaptionedImages
) -> None:
    """Add a split, in a seeded order and cut to `limit` images, to `found`; every picture is decoded once."""
    folder = coco_folder(raw)
    images, captions = read_annotations(folder / "annotations" / f"captions_{source}.json")
    images = sorted(images, key=lambda image: image["id"])
    random.Random(f"{seed}-{source}").shuffle(images)
    for record in track(images[:limit], f"images, {split}", unit="image"):
        path = folder / source / record["file_name"]
        picture, mode = open_rgb(path)
        found.converted_to_rgb += mode != "RGB"
        found.size_differs += picture.size != (record.get("width"), record.get("height"))
        found.images.append({
            "image_id": int(record["id"]), "split": split, "file": path.relative_to(raw).as_posix(),
            "width": picture.width, "height": picture.height,
        })  # fmt: skip
        for position, caption in enumerate(captions[record["id"]]):
            found.captions.append({
                "image_id": int(record["id"]), "split": split, "caption_index": position, "caption": caption,
            })  # fmt: skip


def carve_validation(found: CaptionedImages, fraction: float) -> None:
    """Turn the last `fraction` of the training images (in their seeded order) into validation."""
    train = [image for image in found.images if image["split"] == "train"]
    count = round(fraction * len(train))
    if not 0 < count < len(train):
        raise PreftuneError(
            f"validation_fraction {fraction} of {len(train)} training images "
            "leaves an empty split: change it."
        )
    moved = {image["image_id"] for image in train[-count:]}
    for row in [*found.images, *found.captions]:
        if row["image_id"] in moved:
            row["split"] = "validation"


def read_captioned_images(
    raw: Path, splits: dict[str, str], limit: dict[str, int], validation_fraction: float, seed: int
) -> CaptionedImages:
    """Read the splits named in `splits` (ours: COCO's, as `test: val2017`) below `raw`.

    An image in two of the splits raises PreftuneError, since it would be tested on what it was trained on.
    """
    if validation_fraction and "validation" in splits:
        raise PreftuneError("Settings give both splits.validation and validation_fraction: keep one of them.")
    found = CaptionedImages()
    for split, source in splits.items():
        read_split(raw, source, split, limit.get(split), seed, found)
    seen: dict[int, str] = {}
    for image in found.images:
        other = seen.setdefault(image["image_id"], image["split"])
        if other != image["split"]:
            raise PreftuneError(
                f"Image {image['image_id']} ({image['file']}) is in the splits {other} and {image['split']}: "
                "give each split a source of its own in the setting 'splits'."
            )
    if validation_fraction:
        carve_validation(found, validation_fraction)
    return found

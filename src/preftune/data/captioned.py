"""Captioned images of all splits, checked and opened once, as two tables."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from preftune.data.coco import ListedImage, find_folder, read_coco
from preftune.data.karpathy import read_karpathy
from preftune.data.pictures import open_picture
from preftune.errors import PreftuneError
from preftune.progress import track
from preftune.settings.captioning import CaptionDataSettings, Split


@dataclass
class CaptionTables:
    """Rows of `images.parquet` and `captions.parquet`, and what had to be mended on the way.

    Attributes:
        converted_to_rgb: pictures of another mode (grey, CMYK, palette, transparent, 16 bits).
        turned: pictures whose EXIF orientation was applied.
        size_differs: pictures that are neither as stored nor upright of the size that their annotations say.
    """

    images: list[dict[str, Any]] = field(default_factory=list)
    captions: list[dict[str, Any]] = field(default_factory=list)
    converted_to_rgb: int = 0
    turned: int = 0
    size_differs: int = 0


def read_captioned_images(raw: Path, settings: CaptionDataSettings, seed: int) -> CaptionTables:
    """List the splits of `settings` below `raw`, check them, and open every picture that is kept.

    A split is brought into a seeded order and cut to its limit. A split without images or with another number than
    expected, and an image in two splits, raise PreftuneError before any picture is opened.
    """
    if settings.validation_fraction and "validation" in settings.splits:
        raise PreftuneError("Settings give both splits.validation and validation_fraction: keep one of them.")
    listed = list_splits(raw, settings)
    check_counts(listed, settings)
    check_disjoint(listed)
    tables = CaptionTables()
    for split, images in listed.items():
        images = sorted(images, key=lambda image: image.image_id)
        random.Random(f"{seed}-{settings.splits[split]}").shuffle(images)
        for image in track(images[: settings.limit.get(split)], f"images, {split}", unit="image"):
            add_image(tables, image, split, raw)
    if settings.validation_fraction:
        carve_validation(tables.images, tables.captions, settings.validation_fraction)
    return tables


def list_splits(raw: Path, settings: CaptionDataSettings) -> dict[Split, list[ListedImage]]:
    """Return what the annotations list for each of our splits."""
    if settings.karpathy is None:
        folder = find_folder(raw, "annotations")
        return {split: read_coco(folder, source) for split, source in settings.splits.items()}
    path = find_folder(raw, settings.karpathy) / settings.karpathy
    theirs = read_karpathy(path)
    listed: dict[Split, list[ListedImage]] = {}
    for split, sources in settings.splits.items():
        for source in sources.split("+"):
            if source not in theirs:
                raise PreftuneError(
                    f"{path} has no split {source} (it has {', '.join(sorted(theirs))}): correct splits.{split}."
                )
            listed.setdefault(split, []).extend(theirs[source])
    return listed


def check_counts(listed: dict[Split, list[ListedImage]], settings: CaptionDataSettings) -> None:
    """Compare the number of images of each split with the expected one."""
    for split, expected in settings.expected.items():
        if len(listed[split]) != expected:
            raise PreftuneError(
                f"The split {split} ({settings.splits[split]}) has {len(listed[split]):,} images, not the "
                f"{expected:,} that are expected: fetch its annotations again, or correct the setting 'expected'."
            )


def check_disjoint(listed: dict[Split, list[ListedImage]]) -> None:
    """Raise PreftuneError for an image in two splits: it would be tested on what it was trained on."""
    seen: dict[int, Split] = {}
    for split, images in listed.items():
        for image in images:
            other = seen.setdefault(image.image_id, split)
            if other != split:
                raise PreftuneError(
                    f"Image {image.image_id} ({image.path.name}) is in the splits {other} and {split}: "
                    "give each split a source of its own in the setting 'splits'."
                )


def add_image(tables: CaptionTables, listed: ListedImage, split: Split, raw: Path) -> None:
    """Open a picture and add its rows; `file` is relative to `raw`, width and height are those of the upright picture."""
    picture = open_picture(listed.path)
    tables.converted_to_rgb += picture.mode != "RGB"
    tables.turned += picture.turned
    # COCO's annotations give the size of the stored pixels; a file that was turned by other tools is upright.
    tables.size_differs += listed.size not in (None, picture.stored_size, picture.image.size)
    tables.images.append({
        "image_id": listed.image_id, "split": split, "file": listed.path.relative_to(raw).as_posix(),
        "width": picture.image.width, "height": picture.image.height,
    })  # fmt: skip
    for position, caption in enumerate(listed.captions):
        tables.captions.append({
            "image_id": listed.image_id, "split": split, "caption_index": position, "caption": caption,
        })  # fmt: skip


def carve_validation(
    images: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]], fraction: float
) -> None:
    """Turn the last `fraction` of the training images (in their seeded order) into validation, with the rows about them."""
    train = [image for image in images if image["split"] == "train"]
    count = round(fraction * len(train))
    if not 0 < count < len(train):
        raise PreftuneError(
            f"validation_fraction {fraction} of {len(train)} training images "
            "leaves an empty split: change it."
        )
    moved = {image["image_id"] for image in train[-count:]}
    for row in [*images, *others]:
        if row["image_id"] in moved:
            row["split"] = "validation"

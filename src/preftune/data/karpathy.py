"""Karpathy's split of COCO: one file, `dataset_coco.json`, with every image, its captions and its split.

Source: Karpathy and Fei-Fei 2015 (arXiv 1412.2306). `train` holds 82,783 images, `restval` (the rest of COCO's validation
images) 30,504, `val` and `test` 5,000 each; the pictures are those of COCO 2014, in `train2014/` and `val2014/`.
"""

from pathlib import Path
from typing import Any

from preftune.data.coco import ListedImage
from preftune.errors import PreftuneError
from preftune.files import read_json

FIELDS = ("cocoid", "filepath", "filename", "split", "sentences")


def read_karpathy(path: Path) -> dict[str, list[ListedImage]]:
    """Return the images of each of the file's splits, in the file's order.

    A file of another layout, an image given twice (so that it may be in two splits) or without captions, and a caption
    without text raise PreftuneError.
    """
    content = read_json(path)
    images = content.get("images") if isinstance(content, dict) else None
    if not images:
        raise PreftuneError(f"{path} holds no images of Karpathy's layout: fetch it again.")
    splits: dict[str, list[ListedImage]] = {}
    seen: dict[int, str] = {}
    for row, record in enumerate(images, start=1):
        place = f"{path}, images, row {row}"
        absent = [name for name in FIELDS if not isinstance(record, dict) or name not in record]
        if absent:
            raise PreftuneError(f"{place} has no {absent[0]}: fetch the file of COCO's split again.")
        image, split = int(record["cocoid"]), str(record["split"])
        if image in seen:
            raise PreftuneError(
                f"{place}: image {image} is given twice, in {seen[image]} and in {split}: remove a row."
            )
        seen[image] = split
        file = path.parent / record["filepath"] / record["filename"]
        splits.setdefault(split, []).append(ListedImage(image, file, _captions(record, place), None))
    return splits


def _captions(record: dict[str, Any], place: str) -> list[str]:
    captions = [str(sentence.get("raw") or "").strip() for sentence in record["sentences"]]
    if not captions or not all(captions):
        what = "an empty caption" if captions else "no caption"
        raise PreftuneError(
            f"{place}: image {record['cocoid']} ({record['filename']}) has {what}: remove it or fetch the file again."
        )
    return captions

"""Karpathy's split of COCO on a small file in its layout: splits, counts, and each fault's sentence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from preftune.data.captioned import read_captioned_images
from preftune.errors import PreftuneError
from preftune.files import write_json
from preftune.settings.captioning import CaptionDataSettings

SPLITS = {"train": "train+restval", "validation": "val", "test": "test"}
# id, folder, Karpathy's split
IMAGES = [
    (9, "train2014", "train"), (25, "train2014", "train"), (30, "train2014", "train"), (42, "val2014", "restval"),
    (73, "val2014", "val"), (74, "val2014", "test"), (133, "val2014", "test"),
]  # fmt: skip


def record(image: int, folder: str, split: str) -> dict[str, Any]:
    """An image as in the published file, with two captions."""
    sentences = [
        {"tokens": ["a", "cup"], "raw": f" A cup, number {image}.\n", "imgid": image, "sentid": 1},
        {"tokens": ["one", "cup"], "raw": "One cup. ", "imgid": image, "sentid": 2},
    ]
    name = f"COCO_{folder}_{image:012}.jpg"
    return {"filepath": folder, "sentids": [1, 2], "filename": name, "imgid": image, "split": split,
            "sentences": sentences, "cocoid": image}  # fmt: skip


def write(raw: Path, change: Callable[[list[dict[str, Any]]], None] = lambda images: None) -> Path:
    """The file and the pictures below `raw`, after a change of its images."""
    images = [record(*row) for row in IMAGES]
    change(images)
    write_json(raw / "dataset_coco.json", {"images": images, "dataset": "coco"})
    for image, folder, _ in IMAGES:
        (raw / folder).mkdir(exist_ok=True)
        Image.new("RGB", (20, 10), (image, 0, 0)).save(raw / folder / f"COCO_{folder}_{image:012}.jpg")
    return raw


def settings(**values: Any) -> CaptionDataSettings:
    return CaptionDataSettings.model_validate({"splits": SPLITS, "karpathy": "dataset_coco.json", **values})


@pytest.mark.parametrize("below", [".", "coco"])
def test_splits_pictures_and_captions(below: str, tmp_path: Path) -> None:
    (tmp_path / below).mkdir(exist_ok=True)
    write(tmp_path / below)
    expected = {"train": 4, "validation": 1, "test": 2}
    tables = read_captioned_images(tmp_path, settings(expected=expected), seed=0)
    found = {split: {row["image_id"] for row in tables.images if row["split"] == split} for split in expected}
    assert found == {"train": {9, 25, 30, 42}, "validation": {73}, "test": {74, 133}}
    row = next(row for row in tables.images if row["image_id"] == 42)
    file = "val2014/COCO_val2014_000000000042.jpg"
    assert row["file"] == (file if below == "." else f"coco/{file}")
    assert (row["width"], row["height"]) == (20, 10)
    captions = [(row["caption_index"], row["caption"]) for row in tables.captions if row["image_id"] == 9]
    assert captions == [(0, "A cup, number 9."), (1, "One cup.")]
    assert (tables.converted_to_rgb, tables.turned, tables.size_differs) == (0, 0, 0)


def test_train_may_do_without_restval_and_limits_cut_after_the_count(tmp_path: Path) -> None:
    chosen = settings(
        splits=SPLITS | {"train": "train"}, expected={"train": 3, "test": 2}, limit={"train": 2}
    )
    tables = read_captioned_images(write(tmp_path), chosen, seed=0)
    train = [row["image_id"] for row in tables.images if row["split"] == "train"]
    assert len(train) == 2 and set(train) < {9, 25, 30}
    again = read_captioned_images(tmp_path, chosen, seed=0)
    assert again.images == tables.images


def refuse(raw: Path, *words: str, **values: Any) -> None:
    with pytest.raises(PreftuneError) as error:
        read_captioned_images(raw, settings(**values), seed=0)
    message = str(error.value)
    assert all(word in message for word in words), message
    assert message.endswith(".") and "\n" not in message


def test_another_count_names_the_split(tmp_path: Path) -> None:
    words = ("split train (train+restval) has 4 images, not the 113,287", "fetch its annotations again")
    refuse(write(tmp_path), *words, expected={"train": 113287, "validation": 1})
    refuse(tmp_path, "split test (test) has 2 images, not the 5,000", expected={"test": 5000})
    with pytest.raises(ValidationError, match="expected names the split test, which splits does not"):
        settings(splits={"train": "train"}, expected={"test": 2})


def test_an_image_in_two_splits_is_refused(tmp_path: Path) -> None:
    refuse(
        write(tmp_path), "Image 42", "splits train and validation", splits=SPLITS | {"validation": "restval"}
    )
    write(tmp_path, lambda images: images.append(record(9, "train2014", "test")))
    refuse(tmp_path, "row 8: image 9 is given twice, in train and in test")


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    refuse(
        tmp_path, f"Neither {tmp_path} nor {tmp_path / 'coco'} holds 'dataset_coco.json'", "check data_root"
    )
    write(tmp_path, lambda images: images[1]["sentences"][1].update(raw=" \n"))
    refuse(tmp_path, "row 2", "COCO_train2014_000000000025.jpg", "empty caption", "remove it")
    write(tmp_path, lambda images: images[2].update(sentences=[]))
    refuse(tmp_path, "row 3", "image 30", "no caption")
    write(tmp_path, lambda images: images[0].pop("cocoid"))
    refuse(tmp_path, "dataset_coco.json, images, row 1 has no cocoid", "fetch the file")
    write(tmp_path, lambda images: images.clear())
    refuse(tmp_path, "holds no images of Karpathy's layout")
    refuse(
        write(tmp_path),
        "has no split validation (it has restval, test, train, val)",
        splits={"test": "validation"},
    )
    (tmp_path / "val2014" / "COCO_val2014_000000000073.jpg").unlink()
    refuse(tmp_path, "COCO_val2014_000000000073.jpg does not exist")
    (tmp_path / "dataset_coco.json").write_text('{"images": [')
    refuse(tmp_path, "dataset_coco.json is not valid JSON")

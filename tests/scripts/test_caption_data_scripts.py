"""Command lines from scenes to features and from captions to scores, and each bad input's sentence."""

import json
import os
from pathlib import Path

import compute_features
import evaluate_captions
import generate_scenes
import numpy as np
import pandas as pd
import prepare_captions
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from preftune.files import read_json, sha256_tree, write_json, write_jsonl
from preftune.models.encoders.efficientnet_lite import EfficientNetLite

COUNTS = {"train": 8, "validation": 3, "test": 4}
SPLITS = '{"splits": {"train": "train", "validation": "validation", "test": "test"}}'
REAL = Path(
    os.environ.get("PREFTUNE_REAL_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data")
)


def generate(folder: Path, seed: int = 0) -> Path:
    generate_scenes.main(["--output", str(folder), "--seed", str(seed), "--settings", json.dumps(COUNTS)])
    return folder


def prepare(raw: Path, output: Path, settings: str = SPLITS) -> Path:
    prepare_captions.main(["--raw", str(raw), "--output", str(output), "--settings", settings])
    return output


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Scenes as a user's own images and captions: without a record, which would tell of a test's damage first."""
    folder = generate(tmp_path / "scenes")
    (folder / "run.json").unlink()
    return folder


def test_generated_scenes_that_were_changed_are_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = generate(tmp_path / "scenes")
    (folder / "coco/train/000001.png").write_bytes(b"1")
    with pytest.raises(SystemExit):
        prepare(folder, tmp_path / "captions")
    expect_error(capfd, "coco/train/000001.png is not what", "changed by hand or damaged")


def expect_error(capfd: pytest.CaptureFixture[str], *words: str) -> None:
    """The last thing said is one sentence with these words."""
    message = capfd.readouterr().err
    line = next(line for line in message.splitlines() if line.startswith("error: "))
    assert all(word in line for word in words), line
    assert "Traceback" not in message


def test_scenes_are_cocos_layout_and_deterministic(raw: Path, tmp_path: Path) -> None:
    facts = {}
    for split, count in COUNTS.items():
        content = read_json(raw / "coco" / "annotations" / f"captions_{split}.json")
        assert len(content["images"]) == count and len(content["annotations"]) == 5 * count
        for image in content["images"]:
            picture = Image.open(raw / "coco" / split / image["file_name"])
            assert picture.size == (image["width"], image["height"]) == (224, 224)
        facts[split] = {json.dumps(image["scene"], sort_keys=True) for image in content["images"]}
    assert not facts["train"] & facts["test"] and not facts["train"] & facts["validation"]
    assert sha256_tree(generate(tmp_path / "again")) == sha256_tree(raw)
    assert sha256_tree(generate(tmp_path / "other", seed=1)) != sha256_tree(raw)


def test_prepare_lists_images_and_captions(raw: Path, tmp_path: Path) -> None:
    folder = prepare(raw, tmp_path / "captions")
    images, captions = (
        pd.read_parquet(folder / "images.parquet"),
        pd.read_parquet(folder / "captions.parquet"),
    )
    assert list(images.columns) == ["image_id", "split", "file", "width", "height"]
    assert list(captions.columns) == ["image_id", "split", "caption_index", "caption"]
    assert images["split"].value_counts().to_dict() == COUNTS
    assert captions.groupby("image_id").size().unique().tolist() == [5]
    assert all((raw / file).is_file() for file in images["file"])
    assert read_json(folder / "run.json")["rule"] == "prepare_captions"


def test_prepare_carves_validation_and_limits(raw: Path, tmp_path: Path) -> None:
    settings = {
        "splits": {"train": "train", "test": "test"},
        "limit": {"test": 2},
        "validation_fraction": 0.25,
    }
    images = pd.read_parquet(prepare(raw, tmp_path / "captions", json.dumps(settings)) / "images.parquet")
    assert images["split"].value_counts().to_dict() == {"train": 6, "validation": 2, "test": 2}


def test_pictures_that_are_mended_are_counted(raw: Path, tmp_path: Path) -> None:
    """A grey one, one of 16 bits, a turned one that is still of its annotated size, and one of another size."""
    paths = sorted((raw / "coco" / "test").glob("*.png"))
    Image.open(paths[0]).convert("L").save(paths[0])
    Image.fromarray(np.full((224, 224), 0x8000, dtype=np.uint16)).save(paths[1])
    exif = Image.Exif()
    exif[0x0112] = 6
    annotations = raw / "coco" / "annotations" / "captions_test.json"
    content = read_json(annotations)
    turned = next(image for image in content["images"] if image["file_name"] == paths[2].name)
    turned["height"] = 200
    write_json(annotations, content)
    Image.open(paths[2]).crop((0, 0, 224, 200)).save(paths[2], exif=exif)
    Image.open(paths[3]).crop((0, 0, 224, 200)).save(paths[3])
    folder = prepare(raw, tmp_path / "captions")
    record = read_json(folder / "run.json")
    assert (record["facts"]["converted_to_rgb"], record["facts"]["turned"]) == (2, 1)
    assert record["warnings"] == ["1 images have another size than their annotations say; it is used."]
    images = pd.read_parquet(folder / "images.parquet").set_index("image_id")
    assert images.loc[turned["id"], ["width", "height"]].tolist() == [200, 224]


def test_bad_captions_are_one_sentence(raw: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = raw / "coco" / "annotations" / "captions_test.json"
    whole = read_json(path)
    image = whole["images"][0]
    wrong = {
        "": ("captions_test.json", "not valid JSON"),
        path.read_text()[:200]: ("captions_test.json", "not valid JSON"),
        "{}": ("captions_test.json", "no images"),
        json.dumps({**whole, "annotations": whole["annotations"][5:]}): (str(image["id"]), "no caption"),
        json.dumps({**whole, "annotations": [{"id": 1, "image_id": image["id"], "caption": " "}]}): (
            "row 1",
            "no caption",
        ),
        json.dumps({**whole, "images": whole["images"] + [image]}): ("row 5", "given twice"),
        json.dumps({**whole, "images": whole["images"][1:]}): ("row 1", "not listed"),
    }
    for text, words in wrong.items():
        path.write_text(text)
        with pytest.raises(SystemExit, match="1"):
            prepare(raw, tmp_path / "captions")
        expect_error(capfd, *words)
    assert not (tmp_path / "captions").exists()


def test_bad_images_are_one_sentence(raw: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = sorted((raw / "coco" / "train").glob("*.png"))[0]
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(SystemExit, match="1"):
        prepare(raw, tmp_path / "captions")
    expect_error(capfd, path.name, "does not decode", "fetch or copy it again")
    path.write_bytes(b"")
    with pytest.raises(SystemExit, match="1"):
        prepare(raw, tmp_path / "captions")
    expect_error(capfd, path.name, "is an empty file")
    path.unlink()
    with pytest.raises(SystemExit, match="1"):
        prepare(raw, tmp_path / "captions")
    expect_error(capfd, path.name, "does not exist")


def test_one_source_for_two_splits_is_refused(
    raw: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="1"):
        prepare(raw, tmp_path / "captions", '{"splits": {"train": "test", "test": "test"}}')
    expect_error(capfd, "splits train and test")


def random_encoder(folder: Path) -> Path:
    torch.manual_seed(0)
    folder.mkdir()
    save_file(EfficientNetLite("efficientnet-lite0").state_dict(), folder / "model.safetensors")
    write_json(folder / "config.json", {"architecture": "efficientnet-lite0"})
    return folder


def encode(raw: Path, encoder: Path, images: Path, output: Path, views: int = 1) -> Path:
    words = ["--encoder", str(encoder), "--raw", str(raw), "--images", str(images), "--output", str(output)]
    settings = json.dumps({"batch": 4, "views": views})
    compute_features.main([*words, "--settings", settings, "--device", "cpu"])
    return output


def test_features_of_a_few_images(raw: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    settings = json.dumps({"splits": {"train": "validation"}, "limit": {"train": 2}})
    images = prepare(raw, tmp_path / "captions", settings)
    encoder = random_encoder(tmp_path / "encoder")
    folder = encode(raw, encoder, images, tmp_path / "features")
    assert np.load(folder / "features.npy", mmap_mode="r").shape == (3, 49, 1280)
    assert read_json(folder / "encoder.json")["grid"] == [7, 7]
    assert read_json(folder / "run.json")["facts"]["shape"] == [3, 49, 1280]
    more = encode(raw, encoder, images, tmp_path / "views", views=2)
    assert np.load(more / "features.npy", mmap_mode="r").shape == (5, 49, 1280)
    assert pd.read_parquet(more / "index.parquet")["views"].tolist() == [2, 2, 1]
    (raw / pd.read_parquet(images / "images.parquet")["file"][0]).write_bytes(b"\x89PNG damaged")
    capfd.readouterr()
    with pytest.raises(SystemExit, match="1"):
        encode(raw, encoder, images, tmp_path / "more")
    expect_error(capfd, "does not decode")
    assert not (tmp_path / "more").exists()


ROWS = [
    {
        "image_id": 1,
        "file": "1.png",
        "caption": "A red circle.",
        "references": ["a red circle", "one circle, in red"],
    },
    {"image_id": 2, "file": "2.png", "caption": "two blue stars", "references": ["two small blue stars"]},
    {"image_id": 3, "file": "3.png", "caption": "", "references": ["a green square above a yellow heart"]},
]


def evaluate(rows: list[dict[str, object]], folder: Path) -> tuple[Path, Path]:
    write_jsonl(folder / "captions.jsonl", rows)
    output, items = folder / "captions.json", folder / "captions.parquet"
    evaluate_captions.main(
        [
            "--captions",
            str(folder / "captions.jsonl"),
            "--output",
            str(output),
            "--items",
            str(items),
            "--settings",
            "{}",
        ]
    )
    return output, items


def test_captions_are_scored_by_all_metrics(tmp_path: Path) -> None:
    output, items = evaluate(ROWS, tmp_path)
    report, table = read_json(output), pd.read_parquet(items)
    assert report["n"] == 3 and set(report["absent"]) == {"SPICE"}
    assert set(report["metrics"]) == {"BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr"}
    assert all(score >= 0 for score in report["metrics"].values())
    assert report["shuffled"]["CIDEr"] < report["metrics"]["CIDEr"]
    assert list(table.columns) == ["image_id", "cider", "bleu4", "meteor", "rouge_l", "cider_shuffled"]
    assert table["image_id"].tolist() == [1, 2, 3]
    assert table["meteor"][0] > table["meteor"][1] > table["meteor"][2] == 0.0
    assert table["cider"].mean() == pytest.approx(report["metrics"]["CIDEr"])
    assert table["meteor"][0] == pytest.approx(1.0, abs=0.05)


def test_incomplete_rows_are_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for change, words in (
        ({"caption": None}, "row 2 has no caption"),
        ({"references": []}, "row 2 has no references"),
        ({"references": ["a star", " "]}, "row 2 has an empty reference"),
        ({"image_id": 1}, "row 2: image 1 has a caption already"),
    ):
        with pytest.raises(SystemExit, match="1"):
            evaluate([ROWS[0], {**ROWS[1], **change}], tmp_path)
        expect_error(capfd, words, "captions.jsonl")


@pytest.mark.skipif(
    not (REAL / "coco").is_dir(), reason=f"real data are not at {REAL} (set PREFTUNE_REAL_DATA)"
)
def test_real_coco_rows(tmp_path: Path) -> None:
    settings = {
        "splits": {"train": "val2017", "test": "train2017"},
        "limit": {"train": 12, "test": 6},
        "validation_fraction": 0.25,
    }
    folder = prepare(REAL / "coco", tmp_path / "captions", json.dumps(settings))
    images, captions = (
        pd.read_parquet(folder / "images.parquet"),
        pd.read_parquet(folder / "captions.parquet"),
    )
    assert images["split"].value_counts().to_dict() == {"train": 9, "validation": 3, "test": 6}
    assert captions.groupby("image_id").size().min() >= 5
    assert read_json(folder / "run.json")["warnings"] == []

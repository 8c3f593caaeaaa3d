"""Command lines from scenes to tables of questions; pictures and captions are those of before the questions."""

import hashlib
import json
from pathlib import Path

import generate_scenes
import numpy as np
import pandas as pd
import prepare_captions
import prepare_questions
import pytest
from PIL import Image

from preftune.files import read_json, sha256_tree

COUNTS = {"train": 8, "validation": 3, "test": 4}
SPLITS = {"train": "train", "validation": "validation", "test": "test"}
# of the pictures' pixels and the caption files that the same command wrote when it wrote nothing else
PICTURES_AND_CAPTIONS = "251db1c2aefff94ca44c32c56e5b9033c10e92634b53c5f940a16049e0862ede"


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw") / "scenes"
    generate_scenes.main(["--output", str(folder), "--settings", json.dumps(COUNTS)])
    return folder


@pytest.fixture(scope="module")
def captions(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared") / "captions"
    settings = json.dumps({"splits": SPLITS})
    prepare_captions.main(["--raw", str(raw), "--output", str(folder), "--settings", settings])
    return folder


def prepare(raw: Path, captions: Path | None, output: Path, **settings: object) -> Path:
    words = ["--raw", str(raw), "--output", str(output)]
    words += ["--captions", str(captions)] if captions else []
    chosen = {"format": "scenes", "splits": SPLITS, **settings}
    prepare_questions.main([*words, "--settings", json.dumps(chosen)])
    return output


def expect_error(capfd: pytest.CaptureFixture[str], *words: str) -> None:
    """The last thing said is one sentence with these words."""
    message = capfd.readouterr().err
    line = next(line for line in message.splitlines() if line.startswith("error: "))
    assert all(word in line for word in words), line
    assert "Traceback" not in message


def test_questions_change_no_picture_and_no_caption(raw: Path) -> None:
    digest = hashlib.sha256()
    for path in sorted((raw / "coco").rglob("*")):
        if path.suffix == ".png":
            digest.update(path.relative_to(raw).as_posix().encode())
            digest.update(np.asarray(Image.open(path)).tobytes())
        elif path.name.startswith("captions_"):
            digest.update(path.read_bytes())
    assert digest.hexdigest() == PICTURES_AND_CAPTIONS


def test_questions_are_in_vqav2s_layout(raw: Path) -> None:
    for split, count in COUNTS.items():
        folder = raw / "coco" / "annotations"
        questions = read_json(folder / f"questions_{split}.json")["questions"]
        annotations = read_json(folder / f"answers_{split}.json")["annotations"]
        assert len(questions) == len(annotations) == 6 * count
        assert set(questions[0]) == {"question_id", "image_id", "question"}
        assert set(annotations[0]) == {
            "question_id", "image_id", "question_type", "multiple_choice_answer", "answers",
        }  # fmt: skip
        for row in annotations:
            assert row["answers"] == [{"answer": row["multiple_choice_answer"], "answer_id": 1}]


def test_tables(raw: Path, captions: Path, tmp_path: Path) -> None:
    folder = prepare(raw, captions, tmp_path / "questions")
    questions, images, texts, captioned = (
        pd.read_parquet(path)
        for path in (
            folder / "questions.parquet",
            folder / "images.parquet",
            folder / "text_questions.parquet",
            captions / "images.parquet",
        )
    )
    assert list(questions.columns) == [
        "question_id", "image_id", "split", "kind", "question", "answers", "file",
    ]  # fmt: skip
    assert list(texts.columns) == [
        "question_id", "document", "split", "kind", "context", "question", "answer",
    ]  # fmt: skip
    by_id = ["image_id", "split", "file", "width", "height"]
    pd.testing.assert_frame_equal(
        images[by_id].sort_values("image_id", ignore_index=True),
        captioned[by_id].sort_values("image_id", ignore_index=True),
    )
    assert questions["split"].value_counts().to_dict() == {s: 6 * n for s, n in COUNTS.items()}
    assert all((raw / file).is_file() for file in questions["file"])
    assert questions["answers"].map(len).unique().tolist() == [1]
    facts = read_json(folder / "run.json")["facts"]
    assert facts["images_in_captions"] == {"same": 15, "other": 0, "absent": 0}
    assert sha256_tree(prepare(raw, None, tmp_path / "again")) == sha256_tree(folder)


def test_held_out_descriptions_are_of_the_pictures_and_training_ones_of_others(
    raw: Path, tmp_path: Path
) -> None:
    folder = prepare(raw, None, tmp_path / "questions")
    questions = pd.read_parquet(folder / "questions.parquet")
    texts = pd.read_parquet(folder / "text_questions.parquet")
    held_out = texts[texts["split"] != "train"].set_index("question_id")
    pictures = questions[questions["split"] != "train"].set_index("question_id")
    assert (held_out["question"] == pictures["question"]).all() and len(held_out) == len(pictures)
    assert (held_out["answer"] == pictures["answers"].str[0]).all()
    train = texts[texts["split"] == "train"]
    assert not set(train["context"]) & set(held_out["context"])
    assert not set(train["question_id"]) & set(questions["question_id"])


def test_limits_keep_pictures_and_descriptions_alike(raw: Path, tmp_path: Path) -> None:
    folder = prepare(raw, None, tmp_path / "few", limit={"test": 2}, questions_per_image=3)
    questions = pd.read_parquet(folder / "questions.parquet")
    texts = pd.read_parquet(folder / "text_questions.parquet")
    assert questions["split"].value_counts().to_dict() == {"train": 24, "validation": 9, "test": 6}
    in_test = [set(table.loc[table["split"] == "test", "question_id"]) for table in (questions, texts)]
    assert in_test[0] == in_test[1]


def test_other_splits_than_the_captions_are_one_sentence(
    raw: Path, captions: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    swapped = {"train": "train", "validation": "test", "test": "validation"}
    for settings, words in (
        ({"splits": swapped}, ("has questions in", "captioned in", "the same splits")),
        ({"format": "gqa"}, ("no file train_questions.json",)),
        ({"splits": {"train": "test", "test": "test"}}, ("splits train and test",)),
        ({"questions_per_image": 0}, ("questions_per_image",)),
    ):
        with pytest.raises(SystemExit, match="1"):
            prepare(raw, captions, tmp_path / "questions", **settings)
        expect_error(capfd, *words)
    assert not (tmp_path / "questions").exists()

"""Command lines of the captioning runs on a tiny model: train, perplexity, captions, attention."""

import json
from pathlib import Path

import compute_attention
import evaluate_perplexity
import generate_captions
import numpy as np
import pandas as pd
import pytest
import train_captioner

from preftune.files import read_json, read_jsonl
from tests.tiny import tiny_language_model
from tests.unit.captioning.captioner_helpers import write_data

TRAINING = {"steps": 4, "batch": 5, "learning_rate": 0.01, "optimizer": "adam"}
EVALUATION = json.dumps({"limit": 3, "max_new_tokens": 5, "batch": 2})


@pytest.fixture
def data(tmp_path: Path) -> list[str]:
    """The arguments that all scripts share."""
    tiny_language_model(tmp_path / "base")
    captions, features = write_data(tmp_path / "data")
    return ["--base", str(tmp_path / "base"), "--features", str(features), "--captions", str(captions)]


def train(data: list[str], output: Path, kind: str) -> list[str]:
    """Train a run; returns the arguments of its evaluations."""
    settings = json.dumps(
        {"adapter": {"kind": kind, "rank": 2}, "training": TRAINING, "max_caption_tokens": 9}
    )
    train_captioner.main([*data, "--output", str(output), "--settings", settings])
    return [*data, "--model", str(output), "--device", "cpu"]


@pytest.mark.parametrize("kind", ["none", "lora", "full"])
def test_train_and_evaluate(kind: str, data: list[str], tmp_path: Path) -> None:
    model = train(data, tmp_path / "model", kind)
    assert len(read_jsonl(tmp_path / "model" / "metrics.jsonl")) == 4
    run = read_json(tmp_path / "model" / "run.json")
    assert run["facts"]["parameters"]["connector"] == 6 * 32 + 32
    assert run["facts"]["images"] == 12 and run["facts"]["truncated"] == 0

    scores = tmp_path / "scores" / "perplexity.json"
    items = scores.with_suffix(".parquet")
    evaluate_perplexity.main(
        [*model, "--output", str(scores), "--items", str(items), "--settings", EVALUATION]
    )
    total, table = read_json(scores), pd.read_parquet(items)
    assert (total["split"], total["n_images"], total["n_captions"], len(table)) == ("test", 3, 6, 6)
    assert total["perplexity"] == pytest.approx(np.exp(table["nll"].sum() / table["tokens"].sum()))
    assert total["trainable_parameters"] == run["facts"]["parameters"]["trainable"]

    captions = tmp_path / "captions.jsonl"
    generate_captions.main([*model, "--output", str(captions), "--settings", EVALUATION])
    rows = read_jsonl(captions)
    assert [row["image_id"] for row in rows] == [116, 117, 118]
    assert rows[1]["references"] == ["a green circle", "one green circle"]
    assert isinstance(rows[0]["caption"], str) and rows[0]["file"] == "test/16.png"

    maps = tmp_path / "attention.npz"
    settings = json.dumps({"images": 2, "layer": 1})
    compute_attention.main([*model, "--output", str(maps), "--settings", settings])
    found = np.load(maps)
    assert found["maps"].shape == (2, found["lengths"].max(), 2, 2)
    assert "".join(found["tokens"][0][: found["lengths"][0]]) == "a red circle"


def test_training_is_reproducible(data: list[str], tmp_path: Path) -> None:
    for name in ("first", "second"):
        train(data, tmp_path / name, "lora")
    for file in ("adapter.safetensors", "connector.safetensors"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()


def test_wrong_base_is_one_sentence(
    data: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = train(data, tmp_path / "model", "lora")
    schema = read_json(tmp_path / "model" / "adapter.json")
    schema["base"]["vocab_size"] = 9
    (tmp_path / "model" / "adapter.json").write_text(json.dumps(schema))
    with pytest.raises(SystemExit) as stop:
        generate_captions.main([*model, "--output", str(tmp_path / "c.jsonl"), "--settings", EVALUATION])
    assert stop.value.code == 1
    assert "was trained on another language model (vocab_size 9 instead of 512)" in capsys.readouterr().err
    assert not (tmp_path / "c.jsonl").exists()

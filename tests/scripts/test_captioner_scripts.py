"""Command lines of the captioning runs on a tiny model: train, perplexity, captions, attention."""

import json
import os
import subprocess
import sys
from pathlib import Path

import compute_attention
import evaluate_captioner
import numpy as np
import pandas as pd
import pytest
import train_captioner
from datasets import Dataset, DatasetDict

from preftune.files import read_json, read_jsonl, write_json
from tests.tiny import tiny_language_model
from tests.unit.captioning.captioner_helpers import write_data

TRAINING = {"steps": 4, "batch": 5, "learning_rate": 0.01, "optimizer": "adam"}
SCORES = {"text": {"dataset": "passages", "passages": 2, "tokens": 12}, "max_new_tokens": 5, "batch": 2}
TEXTS = ["the red cup is on the table", "a", "one blue circle and the green cup"]


@pytest.fixture
def data(tmp_path: Path) -> list[str]:
    """The arguments that all scripts share."""
    tiny_language_model(tmp_path / "base")
    captions, features = write_data(tmp_path / "data")
    rows = Dataset.from_dict({"article": TEXTS})
    DatasetDict({"test": rows}).save_to_disk(str(tmp_path / "passages"))
    return ["--base", str(tmp_path / "base"), "--features", str(features), "--captions", str(captions)]


def train(data: list[str], output: Path, kind: str, **more: object) -> list[str]:
    """Train a run; returns the arguments of its evaluations."""
    adapter = {"kind": kind, "rank": 2, "context": "image"}
    settings = json.dumps({"adapter": adapter, "training": TRAINING, "max_caption_tokens": 9} | more)
    train_captioner.main([*data, "--output", str(output), "--settings", settings])
    return [*data, "--model", str(output), "--device", "cpu"]


@pytest.mark.parametrize("kind", ["none", "lora", "full"])
def test_train_and_evaluate(kind: str, data: list[str], tmp_path: Path) -> None:
    model = train(data, tmp_path / "model", kind)
    assert len(read_jsonl(tmp_path / "model" / "metrics.jsonl")) == 4
    run = read_json(tmp_path / "model" / "run.json")
    assert run["facts"]["parameters"]["connector"] == 6 * 32 + 32
    assert run["facts"]["images"] == 12 and run["facts"]["truncated"] == 0

    scores = tmp_path / "scores"
    evaluate(model, scores)
    total, table = read_json(scores / "perplexity.json"), pd.read_parquet(scores / "perplexity.parquet")
    assert (total["split"], total["n_images"], total["n_captions"], len(table)) == ("test", 3, 6, 6)
    assert total["perplexity"] == pytest.approx(np.exp(table["nll"].sum() / table["tokens"].sum()))
    assert total["trainable_parameters"] == run["facts"]["parameters"]["trainable"]
    assert read_json(scores / "validation.json")["split"] == "validation"
    text, passages = read_json(scores / "text.json"), pd.read_parquet(scores / "text.parquet")
    assert text["n_passages"] == len(passages) == 2
    wanted = np.exp(passages["nll"].sum() / passages["tokens"].sum())
    assert text["text_perplexity"] == pytest.approx(wanted)

    rows = read_jsonl(scores / "captions.jsonl")
    assert [row["image_id"] for row in rows] == [116, 117, 118]
    assert rows[1]["references"] == ["a green circle", "one green circle"]
    assert isinstance(rows[0]["caption"], str) and rows[0]["file"] == "test/16.png"

    maps = tmp_path / "attention.npz"
    settings = json.dumps({"images": 2, "layer": 1})
    compute_attention.main([*model, "--output", str(maps), "--settings", settings])
    found = np.load(maps)
    assert found["maps"].shape == (2, found["lengths"].max(), 2, 2)
    assert "".join(found["tokens"][0][: found["lengths"][0]]) == "a red circle"


def evaluate(model: list[str], scores: Path, limit: int | None = 3) -> None:
    """Score a trained run into a folder."""
    words = []
    for option, name in (("output", "perplexity"), ("validation", "validation"), ("text", "text")):
        items = "items" if option == "output" else f"{option}-items"
        words += [f"--{option}", str(scores / f"{name}.json"), f"--{items}", str(scores / f"{name}.parquet")]
    words += [
        "--texts",
        str(Path(model[1]).parent / "passages"),
        "--generated",
        str(scores / "captions.jsonl"),
    ]
    evaluate_captioner.main([*model, *words, "--settings", json.dumps(SCORES | {"limit": limit})])


def test_p_lora_forgets_nothing(data: list[str], tmp_path: Path) -> None:
    """Plain text holds no image token: bit for bit what the frozen model says; full fine-tuning changes it."""
    text = {}
    for kind in ("none", "lora", "full"):
        evaluate(train(data, tmp_path / kind, kind), tmp_path / "scores" / kind)
        text[kind] = read_json(tmp_path / "scores" / kind / "text.json")["text_perplexity"]
    assert text["lora"] == text["none"] != text["full"]


def test_training_is_reproducible(data: list[str], tmp_path: Path) -> None:
    for name in ("first", "second"):
        train(data, tmp_path / name, "lora")
    for file in ("image/adapter_model.safetensors", "connector.safetensors"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()


def test_two_processes_under_torchrun_train_what_one_does(data: list[str], tmp_path: Path) -> None:
    training, more = TRAINING | {"batch": 4}, {"connector_dropout": 0.0, "validate_every": 2}
    train(data, tmp_path / "one", "lora", training=training, **more)
    adapter = {"kind": "lora", "rank": 2, "context": "image"}
    settings = {"adapter": adapter, "training": training, "max_caption_tokens": 9} | more
    words = [*data, "--output", str(tmp_path / "two"), "--settings", json.dumps(settings), "--device", "cpu"]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    run = subprocess.run(
        [sys.executable, *launcher, train_captioner.__file__, *words],
        env=os.environ | {"PREFTUNE_SCRATCH": str(tmp_path / "scratch")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert read_json(tmp_path / "two" / "run.json")["facts"]["processes"] == 2
    curves = [
        [
            (row["loss"], row.get("validation_perplexity", 0))
            for row in read_jsonl(tmp_path / name / "metrics.jsonl")
        ]
        for name in ("one", "two")
    ]
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-5)


def test_best_weights_on_validation_are_kept(data: list[str], tmp_path: Path) -> None:
    """With a learning rate that spoils the model, an early step is the best; the last one's weights are not saved."""
    training = TRAINING | {"steps": 6, "learning_rate": 0.1, "schedule": "linear", "warmup_steps": 6}
    model = train(data, tmp_path / "best", "full", training=training, validate_every=2)
    facts = read_json(tmp_path / "best" / "run.json")["facts"]
    rows = read_jsonl(tmp_path / "best" / "metrics.jsonl")
    found = {row["step"]: row["validation_perplexity"] for row in rows if "validation_perplexity" in row}
    assert sorted(found) == [2, 4, 6]
    assert facts["best_step"] == min(found, key=found.__getitem__)
    evaluate(model, tmp_path / "scores", limit=None)
    scored = read_json(tmp_path / "scores" / "validation.json")["perplexity"]
    assert scored == pytest.approx(facts["best_validation_perplexity"], rel=1e-6)
    assert facts["best_step"] < 6


def test_a_part_of_the_images(data: list[str], tmp_path: Path) -> None:
    train(data, tmp_path / "part", "lora", train_fraction=0.25)
    assert read_json(tmp_path / "part" / "run.json")["facts"]["images"] == 3


def test_wrong_base_is_one_sentence(
    data: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = train(data, tmp_path / "model", "lora")
    schema = read_json(tmp_path / "model" / "adapter.json")
    schema["base"]["vocab_size"] = 9
    (tmp_path / "model" / "adapter.json").write_text(json.dumps(schema))
    record = read_json(tmp_path / "model" / "run.json")
    write_json(tmp_path / "model" / "run.json", record | {"outputs": {}})  # else it tells of the edit first
    with pytest.raises(SystemExit) as stop:
        evaluate(model, tmp_path / "scores")
    assert stop.value.code == 1
    assert "was trained on another language model (vocab_size 9 instead of 512)" in capsys.readouterr().err
    assert not list((tmp_path / "scores").glob("[!.]*"))

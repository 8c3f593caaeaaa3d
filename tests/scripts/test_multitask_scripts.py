"""Command lines of the multi-task experiment on a tiny model: parts apart, joined and tuned, one adapter jointly, the table."""

import json
from pathlib import Path
from typing import Any

import evaluate_multitask
import pandas as pd
import pytest
import tabulate_multitask
import train_multitask

from preftune.files import read_json, read_jsonl, sha256_tree
from preftune.tables.files import read_records
from tests.tiny import tiny_language_model
from tests.unit.captioning.captioner_helpers import write_data
from tests.unit.captioning.test_multitask import (
    IMAGE_AND_CAPTION,
    QUESTION_AND_ANSWER,
    write_questions,
)

TRAINING = {"steps": 2, "batch": 3, "learning_rate": 0.01, "optimizer": "adam"}
EVALUATION = {"images": 3, "questions": 3, "max_new_tokens": 2, "batch": 2}
RUNS = ("captions", "questions", "joined", "tuned", "agnostic")


def lora(rank: int = 2, **settings: Any) -> dict[str, Any]:
    return {"kind": "lora", "rank": rank, **settings}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("multitask")
    tiny_language_model(folder / "base")
    captions, features = write_data(folder / "data")
    questions = write_questions(folder / "questions")
    return {"base": folder / "base", "features": features, "captions": captions, "questions": questions}


def train(data: dict[str, Path], output: Path, adapter: Any, tasks: list[str], *parents: Path) -> Path:
    settings = {"adapter": adapter, "tasks": tasks, "training": TRAINING, "max_caption_tokens": 9}
    words = [word for name, path in data.items() for word in (f"--{name}", str(path))]
    words += ["--parents", *map(str, parents)] if parents else []
    train_multitask.main(
        [*words, "--output", str(output), "--settings", json.dumps(settings), "--device", "cpu"]
    )
    return output


@pytest.fixture(scope="module")
def models(data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the five runs' models."""
    folder = tmp_path_factory.mktemp("models")
    parts = [
        train(data, folder / "captions", lora(groups=IMAGE_AND_CAPTION), ["captions"]),
        train(data, folder / "questions", lora(groups=QUESTION_AND_ANSWER), ["text-questions"]),
    ]
    joined = train(data, folder / "joined", None, [], *parts)
    train(data, folder / "tuned", None, ["visual-questions"], joined)
    tasks = ["captions", "text-questions", "visual-questions"]
    train(data, folder / "agnostic", lora(8, context="agnostic"), tasks)
    return folder


@pytest.fixture(scope="module")
def scores(data: dict[str, Path], models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the five runs' scores."""
    folder = tmp_path_factory.mktemp("scores")
    words = [word for name, path in data.items() for word in (f"--{name}", str(path))]
    for run in RUNS:
        output = ["--model", str(models / run), "--output", str(folder / run / "seed-0")]
        settings = ["--settings", json.dumps(EVALUATION), "--device", "cpu"]
        evaluate_multitask.main([*words, *output, *settings])
    return folder


def test_parts_are_peft_folders_and_the_joined_model_holds_both(models: Path) -> None:
    assert len(read_jsonl(models / "tuned" / "metrics.jsonl")) == 2
    assert not (models / "joined" / "metrics.jsonl").exists()
    for name, own in (("captions", IMAGE_AND_CAPTION), ("questions", QUESTION_AND_ANSWER)):
        for group in own:
            weights = "adapter_model.safetensors"
            assert (models / name / group / weights).read_bytes() == (
                models / "joined" / group / weights
            ).read_bytes()
    assert (models / "captions" / "connector.safetensors").read_bytes() == (
        models / "joined" / "connector.safetensors"
    ).read_bytes()
    # The words of a caption have no part in a visual question.
    for group, changed in (("image", True), ("text", False), ("question", True), ("answer", True)):
        files = [sha256_tree(models / run / group) for run in ("joined", "tuned")]
        assert (files[0] != files[1]) == changed, group
    counts = {run: read_json(models / run / "adapter.json")["parameters"] for run in RUNS}
    assert counts["agnostic"] == counts["tuned"] == counts["joined"]
    assert counts["questions"]["connector"] == 0
    facts = read_json(models / "agnostic" / "run.json")["facts"]
    assert facts["task_examples"] == {"captions": 12, "text-questions": 4, "visual-questions": 4}
    assert facts["steps"] == 2 and facts["questions_without_features"] == 0


def test_scores_of_every_task(scores: Path) -> None:
    found = {run: read_json(scores / run / "seed-0" / "answers.json") for run in RUNS}
    captions = {
        run: read_json(scores / run / "seed-0" / "perplexity.json") for run in RUNS if run != "questions"
    }
    assert captions["joined"] == captions["captions"] | {
        key: captions["joined"][key] for key in ("trainable_parameters", "lm_trainable_parameters")
    }
    assert found["joined"]["text"] == found["questions"]["text"]
    assert not (scores / "questions" / "seed-0" / "perplexity.json").exists()
    assert "image" not in found["questions"]
    table = pd.read_parquet(scores / "tuned" / "seed-0" / "answers.parquet")
    assert len(table) == 2 * 3 * 3  # media, questions, answerers
    assert set(table["answerer"]) == {"model", "majority", "prior_of_kind"}
    text = found["tuned"]["text"]
    assert text["majority"]["score"] == 1 and text["model"]["n"] == 3  # every answer is red
    assert read_json(scores / "tuned" / "seed-0" / "run.json")["facts"]["questions_without_features"] == 1


def test_the_table_holds_every_run_and_what_needs_no_model(scores: Path, tmp_path: Path) -> None:
    alone = {"captions": "captions", "text-questions": "questions"}
    settings = {"paper": "context_peft", "scale": "demo", "data": "embedded", "runs": RUNS, "alone": alone}
    files = {"output": "csv", "markdown": "md", "latex": "tex", "audit": "audit.json"}
    words = [
        word for name, kind in files.items() for word in (f"--{name}", str(tmp_path / f"multitask.{kind}"))
    ]
    folders = [str(scores / run / "seed-0") for run in RUNS]
    tabulate_multitask.main(["--scores", *folders, *words, "--settings", json.dumps(settings)])
    records = {(row["row"], row["column"]): row for row in read_records(tmp_path / "multitask.audit.json")}
    assert records["joined", "captions, change"]["value"] == 0
    assert records["joined", "text questions, change"]["value"] == 0
    assert records["questions", "captions"]["verdict"] == "not applicable"
    counts = [records[run, "adapter parameters"]["value"] for run in ("joined", "tuned", "agnostic")]
    assert len(set(counts)) == 1
    assert records["majority answer, no model", "text questions"]["value"] == 100
    assert "data: embedded" in (tmp_path / "multitask.md").read_text()


def test_training_is_reproducible(data: dict[str, Path], models: Path, tmp_path: Path) -> None:
    again = train(data, tmp_path / "tuned", None, ["visual-questions"], models / "joined")
    for group in (*IMAGE_AND_CAPTION, *QUESTION_AND_ANSWER):
        assert sha256_tree(again / group) == sha256_tree(models / "tuned" / group)


@pytest.mark.parametrize(
    ("adapter", "tasks", "without", "sentence"),
    [
        (None, [], "", "--parents: give parents to a run whose adapter is null"),
        (lora(), ["captions"], "captions", "--captions is missing: the tasks captions read it"),
        (lora(), ["visual-questions"], "features", "--features is missing"),
        (lora(), ["text-questions"], "questions", "--questions is missing"),
        (lora(), [], "", "an adapter needs a kind that adds parameters, and tasks"),
        (lora(), ["captions", "captions"], "", "tasks names one of them twice"),
    ],
)
def test_what_is_missing_is_one_sentence(
    data: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    adapter: Any,
    tasks: list[str],
    without: str,
    sentence: str,
) -> None:
    given = {name: path for name, path in data.items() if name != without}
    with pytest.raises(SystemExit) as stop:
        train(given, tmp_path / "model", adapter, tasks)
    assert stop.value.code == 1
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "model").exists()

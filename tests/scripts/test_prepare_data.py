"""The command lines that generate and prepare the language data, on tiny inputs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import load_from_disk

from tests.tiny import tiny_tokenizer

ROOT = Path(__file__).resolve().parents[2]
LIMITS = json.dumps({"limit_train": 24, "limit_evaluation": 6})
SETTINGS = {"examples": 12, "max_tokens": 400}


def run(script, *arguments):
    command = [sys.executable, str(ROOT / "workflow" / "scripts" / f"{script}.py"), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=100
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Generated raw rows, four prepared data sets and a tokenizer."""
    folder = tmp_path_factory.mktemp("language")
    (folder / "talks").mkdir()
    talks = "".join(f"- - What is number {n}?\n  - It is {n}.\n" for n in range(30))
    (folder / "talks" / "numbers.yml").write_text(f"categories:\n- numbers\nconversations:\n{talks}")
    settings = json.dumps({"train": 40, "evaluation": 12})
    done = run(
        "generate_language_data",
        "--dialogues",
        folder / "talks",
        "--output",
        folder / "raw",
        "--settings",
        settings,
    )
    assert done.returncode == 0, done.stderr
    for name in ("glue-cola", "race-middle", "dialogues", "ultrafeedback"):
        done = run(
            "prepare_dataset",
            "--raw",
            folder / "raw",
            "--dataset",
            name,
            "--output",
            folder / name,
            "--settings",
            LIMITS,
        )
        assert done.returncode == 0, done.stderr
    tiny_tokenizer(folder / "model")
    return folder


def test_a_prepared_data_set_has_its_splits_and_a_record(prepared):
    splits = load_from_disk(str(prepared / "race-middle"))
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 24, "validation": 6, "test": 6}
    record = json.loads((prepared / "race-middle" / "run.json").read_text())
    assert record["facts"]["rows"] == {"train": 24, "validation": 6, "test": 6}
    assert len(record["inputs"]["files"]) == 3
    assert record["settings"] == {"limit_train": 24, "limit_evaluation": 6}


@pytest.mark.parametrize(
    ("script", "tasks", "columns"),
    [
        ("prepare_sft_mix", ["cola", "race-middle", "dialogues"], {"prompt_ids", "completion_ids"}),
        (
            "prepare_preference_mix",
            ["cola", "race-middle", "ultrafeedback"],
            {"prompt_ids", "chosen_ids", "rejected_ids"},
        ),
    ],
)
def test_a_mix_is_drawn(prepared, script, tasks, columns):
    folders = [prepared / name for name in ("glue-cola", "race-middle", "dialogues", "ultrafeedback")]
    done = run(
        script, "--datasets", *folders, "--tokenizer", prepared / "model", "--output", prepared / script,
        "--settings", json.dumps({**SETTINGS, "tasks": tasks}),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = load_from_disk(str(prepared / script))
    assert set(rows.column_names) == {"example_id", "task"} | columns
    assert len(rows) == 12
    assert json.loads((prepared / script / "run.json").read_text())["facts"]["tasks"] == dict.fromkeys(
        sorted(tasks), 4
    )


@pytest.mark.parametrize(
    ("dataset", "message"), [("glue-kola", "did you mean 'glue-cola'"), ("glue-rte", "set data_root")]
)
def test_a_user_error_is_one_sentence_and_exit_code_1(prepared, tmp_path, dataset, message):
    done = run(
        "prepare_dataset",
        "--raw",
        tmp_path,
        "--dataset",
        dataset,
        "--output",
        tmp_path / "out",
        "--settings",
        LIMITS,
    )
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()

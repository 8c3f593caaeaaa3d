"""Training scripts as child processes: told to stop and called again; several processes under torchrun."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from transformers import AutoTokenizer

from preftune.files import read_json, read_jsonl, sha256_file
from tests.conftest import ROOT
from tests.tiny import tiny_language_model
from tests.unit.preference.helpers import save_mixes

SCRIPT = str(ROOT / "workflow/scripts/train_sft.py")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume")
    tiny_language_model(folder / "base")
    save_mixes(AutoTokenizer.from_pretrained(folder / "base"), folder)
    return folder


def words(work: Path, output: Path, steps: int) -> list[str]:
    settings = {
        "training": {"steps": steps, "batch": 4, "learning_rate": 1e-3},
        "lora": {"rank": 2, "dropout": 0.1},
    }
    return [SCRIPT, "--base", str(work / "base"), "--data", str(work / "sft-mix"), "--output", str(output),
            "--settings", json.dumps(settings), "--device", "cpu"]  # fmt: skip


def start(command: list[str], scratch: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *command],
        env=os.environ | {"PREFTUNE_SCRATCH": str(scratch)},
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_rows(process: subprocess.Popen[str], folder: Path, rows: int) -> None:
    """Until the metrics that a running step writes have so many rows."""
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        found = list(folder.glob(".*/metrics.jsonl"))
        if found and len(found[0].read_text().splitlines()) >= rows:
            return
        time.sleep(0.01)
    pytest.fail(f"no {rows} rows came: {process.communicate()[1]}")


def test_a_step_told_to_stop_says_again_and_ends_in_the_same_bytes(work: Path, tmp_path: Path) -> None:
    steps, scratch = 300, tmp_path / "scratch"
    whole, output = tmp_path / "whole/sft", tmp_path / "stopped/sft"
    assert start(words(work, whole, steps), scratch).wait() == 0
    stopped = start(words(work, output, steps), scratch)
    wait_for_rows(stopped, output.parent, 20)
    stopped.send_signal(signal.SIGTERM)
    message = stopped.communicate()[1]
    assert stopped.returncode == 75, message
    assert "was told to stop (SIGTERM)" in message and "the same command goes on" in message
    assert not output.exists() and not list(output.parent.glob(".*.sft"))
    assert len(list(scratch.glob("training/train_sft-*/step-*"))) == 1
    again = start(words(work, output, steps), scratch)
    message = again.communicate()[1]
    assert again.returncode == 0 and "continues after step" in message
    for name in ("adapter_model.safetensors", "metrics.jsonl"):
        assert sha256_file(output / name) == sha256_file(whole / name), name
    record = read_json(output / "run.json")
    assert len(record["facts"]["attempts"]) == 2 and len(record["failed_attempts"]) == 1
    assert not list(scratch.glob("training/*"))


def test_two_processes_under_torchrun_train_what_one_does(work: Path, tmp_path: Path) -> None:
    """LoRA without dropout: draws differ from process to process. Rounding of 1e-5, one record, one folder."""
    for name, launcher in (
        ("one", []),
        ("two", ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]),
    ):
        command = [*launcher, *words(work, tmp_path / name / "sft", 6)]
        command = [word.replace('"dropout": 0.1', '"dropout": 0.0') for word in command]
        process = start(command, tmp_path / f"scratch-{name}")
        message = process.communicate()[1]
        assert process.returncode == 0, message
    one, two = tmp_path / "one/sft", tmp_path / "two/sft"
    assert sorted(path.name for path in two.parent.iterdir()) == ["sft"]
    assert read_json(two / "run.json")["facts"]["processes"] == 2
    curves = [[row["loss"] for row in read_jsonl(folder / "metrics.jsonl")] for folder in (one, two)]
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-5)
    first, second = (load_file(folder / "adapter_model.safetensors") for folder in (one, two))
    for name in first:
        np.testing.assert_allclose(first[name], second[name], atol=1e-5)

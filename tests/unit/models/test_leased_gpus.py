"""Several GPUs on one machine: a process has one to itself, and a crash gives it back."""

import multiprocessing
import os
import signal
import tempfile
from pathlib import Path

import pytest

from preftune.errors import PreftuneError
from preftune.models.devices import claim_device

SPAWN = multiprocessing.get_context("spawn")


def claim(folder: str, pipe) -> None:  # type: ignore[no-untyped-def]
    """In another process: claim a (pretended) GPU, say which, keep it until told to end."""
    tempfile.tempdir = folder
    os.environ["CUDA_VISIBLE_DEVICES"] = "0,3"
    pipe.send("ready")
    claim_device("auto")
    pipe.send(os.environ["CUDA_VISIBLE_DEVICES"])
    pipe.recv()


def start_claim(folder: Path):  # type: ignore[no-untyped-def]
    pipe, far = SPAWN.Pipe()
    process = SPAWN.Process(target=claim, args=(str(folder), far), daemon=True)
    process.start()
    assert pipe.poll(60) and pipe.recv() == "ready"
    return process, pipe


def test_each_process_has_its_own_and_a_killed_one_gives_it_back(tmp_path: Path) -> None:
    claims = [start_claim(tmp_path) for _ in range(2)]
    assert all(pipe.poll(60) for _, pipe in claims)
    given = {pipe.recv(): process for process, pipe in claims}
    assert set(given) == {"0", "3"}
    _, waiting = start_claim(tmp_path)
    assert not waiting.poll(3), "a third process was given a GPU that is in use"
    os.kill(given["3"].pid, signal.SIGKILL)
    assert waiting.poll(20) and waiting.recv() == "3"


def test_one_gpu_needs_no_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    claim_device("auto")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2" and list(tmp_path.iterdir()) == []


def test_cuda_without_a_gpu_says_what_is_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(
        PreftuneError, match=r"CUDA_VISIBLE_DEVICES: empty; torch is built for .*: ask for one"
    ):
        claim_device("cuda")

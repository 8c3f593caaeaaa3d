"""Leases: one process writes an output, and one that is gone stops nobody."""

import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from preftune import leases
from preftune.cluster import slurm
from preftune.errors import PreftuneError
from preftune.leases import FAILED, Lease, list_leases

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PREFTUNE_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    return tmp_path / "scratch"


def hold(output: Path, pipe) -> None:  # type: ignore[no-untyped-def]
    """In another process: take the lease, say so, and wait to be told to end."""
    try:
        lease = Lease.take(output, "train_sft")
    except PreftuneError as error:
        pipe.send(str(error))
        return
    pipe.send("held")
    pipe.recv()
    lease.release()


def start_holder(output: Path):  # type: ignore[no-untyped-def]
    pipe, far = SPAWN.Pipe()
    process = SPAWN.Process(target=hold, args=(output, far), daemon=True)
    process.start()
    assert pipe.poll(60)
    return process, pipe, pipe.recv()


def test_a_second_process_is_refused_and_a_killed_one_is_not_waited_for(tmp_path: Path) -> None:
    output = tmp_path / "model"
    holder, _, told = start_holder(output)
    assert told == "held"
    with pytest.raises(PreftuneError, match=f"is being written by process {holder.pid} on .*: wait for it"):
        Lease.take(output, "train_sft")
    Lease.take(tmp_path / "other", "train_sft").release()
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    lease = Lease.take(output, "train_sft")
    assert lease.former is not None and lease.former["pid"] == holder.pid
    assert start_holder(output)[2].startswith(str(output))
    lease.release()
    assert list_leases() == []


def test_a_process_number_that_was_given_again_is_another_process(tmp_path: Path) -> None:
    lease = Lease.take(tmp_path / "model", "train_sft")
    lease.note(born="1")
    assert Lease.take(tmp_path / "model", "train_sft").former is not None


def test_a_lease_that_was_taken_over_is_noticed_before_anything_is_written(tmp_path: Path) -> None:
    first = Lease.take(tmp_path / "model", "train_sft")
    first.path.unlink()
    second = Lease.take(tmp_path / "model", "train_sft")
    second.note(pid=1)
    with pytest.raises(PreftuneError, match="another process took over"):
        first.check()
    second.check()
    first.release()
    assert second.path.is_file()


def test_a_job_that_slurm_may_still_run_holds_its_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    Lease.take(tmp_path / "model", "train_sft")
    # Within one allocation, that of an interactive session say, the process itself counts.
    with pytest.raises(PreftuneError, match="is being written by SLURM job 17"):
        Lease.take(tmp_path / "model", "train_sft")
    monkeypatch.setenv("SLURM_JOB_ID", "18")
    monkeypatch.setattr(slurm, "is_alive", lambda job: job == "17")
    with pytest.raises(PreftuneError, match="is being written by SLURM job 17"):
        Lease.take(tmp_path / "model", "train_sft")
    monkeypatch.setattr(slurm, "is_alive", lambda job: False)
    assert Lease.take(tmp_path / "model", "train_sft").former["slurm_job"] == "17"


def test_a_failure_leaves_a_message_in_a_job_and_nothing_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Lease.take(tmp_path / "model", "train_sft").fail("It is full.", memory=False)
    assert list_leases() == []
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    lease = Lease.take(tmp_path / "model", "train_sft")
    lease.note(scratch=str(tmp_path / "training"))
    (tmp_path / "training/step-00000020").mkdir(parents=True)
    lease.fail("It is full.", memory=True)
    (left,) = list_leases()
    assert (left.facts["state"], left.facts["error"], left.facts["memory"]) == (FAILED, "It is full.", True)
    assert left.checkpoint == tmp_path / "training/step-00000020"
    # It is over: the next attempt takes the lease, and what it said stays said.
    assert Lease.take(tmp_path / "model", "train_sft").former is None


def test_a_damaged_lease_is_taken_over(tmp_path: Path) -> None:
    path = Lease.take(tmp_path / "model", "train_sft").path
    path.write_text("{")
    assert list_leases() == []
    Lease.take(tmp_path / "model", "train_sft").release()


def test_many_at_once_leave_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that find the same dead lease: the one that was faster keeps what it took."""
    dead = Lease.take(tmp_path / "model", "train_sft")
    dead.note(born="1")
    remove = leases._remove

    def slow(path: Path, expected: dict[str, object] | None) -> bool:
        monkeypatch.setattr(leases, "_remove", remove)
        other = Lease.take(tmp_path / "model", "train_sft")
        other.note(host="elsewhere")
        return remove(path, expected)

    monkeypatch.setattr(leases, "_remove", slow)
    with pytest.raises(PreftuneError, match="elsewhere"):
        Lease.take(tmp_path / "model", "train_sft")
    (left,) = list_leases()
    assert json.loads(left.path.read_text())["host"] == "elsewhere"

"""The parts of a run on a cluster that need none: the site's file, limits as SLURM writes them, memory, late files."""

import threading
import time
from pathlib import Path

import pytest
import torch

from preftune.cluster.outcomes import mark_memory, memory_factor
from preftune.cluster.preflight import _gpus, _minutes
from preftune.cluster.site import read_site, scratch_folder
from preftune.command_line import step_parser
from preftune.errors import PreftuneError
from preftune.failures import describe_failure, lacked_memory
from preftune.step import Step


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [("2:00:00", 120), ("1-00:00:00", 1440), ("30:00", 30), ("7-12:30:00", 10830), ("infinite", 10**9)],
)
def test_time_limits(limit: str, minutes: int) -> None:
    assert _minutes(limit) == minutes


@pytest.mark.parametrize(
    ("gres", "model", "count"),
    [
        ("gpu:4", None, 4),
        ("gpu:a100:4(S:0-1)", None, 4),
        ("gpu:a100:4(S:0-1)", "a100", 4),
        ("gpu:a100:4", "h100", 0),
        (",gpu:v100:2,gpu:a100:8(S:0,2),(null)", "v100", 2),
        ("gpu:nvidia_a100-sxm4-80gb:4(S:0-1)", None, 4),
        ("(null)", None, 0),
    ],
)
def test_gpus_of_a_node(gres: str, model: str | None, count: int) -> None:
    assert _gpus(gres, model) == count


def test_the_site_s_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "site.yaml"
    monkeypatch.setenv("PREFTUNE_SITE", str(path))
    monkeypatch.setenv("USER", "me")
    with pytest.raises(PreftuneError, match="does not exist: write it"):
        read_site()
    path.write_text("partitions: {cpu: c, gpu: g}\nscratch: /scratch/$USER\n")
    monkeypatch.delenv("PREFTUNE_SCRATCH", raising=False)
    assert scratch_folder() == Path("/scratch/me")
    path.write_text("partitions: {cpu: c}\n")
    with pytest.raises(PreftuneError, match=r"site.yaml: partitions.gpu: Field required"):
        read_site()
    path.write_text("partitions: {")
    with pytest.raises(PreftuneError, match="is no valid YAML"):
        read_site()


def test_memory_doubles_each_time_that_it_ran_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFTUNE_SCRATCH", str(tmp_path))
    assert memory_factor("abc") == 1
    mark_memory("abc")
    mark_memory("abc")
    assert memory_factor("abc") == 4 and memory_factor("abd") == 1


def test_what_the_host_s_memory_running_out_looks_like() -> None:
    torch_says = RuntimeError(
        "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"
    )
    try:
        try:
            raise torch_says
        except RuntimeError as cause:
            raise PreftuneError("example 7 does not fit") from cause
    except PreftuneError as error:
        assert describe_failure(error, Path("x")).memory  # type: ignore[union-attr]
    assert lacked_memory(MemoryError())
    assert not lacked_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))


@pytest.mark.parametrize("code", [None, 0, 2, "usage"])
def test_a_script_that_ends_itself_did_not_fail(code: object) -> None:
    assert describe_failure(SystemExit(code), Path("x")) is None
    stopped = describe_failure(SystemExit(143), Path("x"))
    assert stopped is not None and "SIGTERM" in stopped.sentence and stopped.code == 143


def test_late_files_are_waited_for_in_a_cluster_s_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("PREFTUNE_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setattr(time, "sleep", lambda seconds, sleep=time.sleep: sleep(0.1))
    parser = step_parser("A test.")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--output", type=Path)
    data, output = tmp_path / "data", tmp_path / "out"
    writer = threading.Timer(1.0, data.write_text, ("late",))
    writer.start()
    words = ["--data", str(data), "--output", str(output)]
    with Step.start(parser, words, rule="fetch_model", inputs=("data",)) as step:
        step.out().write_text(data.read_text())
    assert output.read_text() == "late"

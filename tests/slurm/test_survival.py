"""What happens to a training on a real cluster: whatever ends it, it goes on, and ends with the bytes of a quiet run."""

import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from preftune.files import sha256_file
from tests.slurm.cluster import Cluster, descendants, run, wait_until
from tests.slurm.conftest import Workflow

pytestmark = pytest.mark.slow

MODEL = "results/long/dph/models/sft/seed-0"
TRAINING = {"steps": 2500, "batch": 4, "learning_rate": 1.0e-3, "checkpoint_minutes": 0.05}
"""Half a minute of steps on one core, a checkpoint every three seconds."""


@pytest.fixture(scope="module")
def long(workflow: Workflow) -> Workflow:
    """The miniature with a training that lasts; its data are prepared before the first test."""
    workflow.change_config(results="results/long", dph={"sft": {"training": TRAINING}})
    workflow.run("--", "results/long/dph/data/sft-mix")
    return workflow


@pytest.fixture(scope="module")
def undisturbed(long: Workflow) -> dict[str, str]:
    """Hashes of the model that nothing disturbed."""
    told = long.run("--", MODEL)
    assert "submitted again" not in told
    return hashes(long)


@pytest.fixture
def training(long: Workflow, undisturbed: dict[str, str]) -> Iterator[Workflow]:
    """A checkout in which the model is missing, and after the test the proof that it came out the same."""
    forget(long)
    yield long
    assert hashes(long) == undisturbed
    assert not list((long.folder / "scratch/leases").glob("*.json"))


def hashes(workflow: Workflow) -> dict[str, str]:
    folder = workflow.folder / MODEL
    names = [path for path in folder.rglob("*") if path.is_file()]
    # The record and the curve hold times.
    return {
        path.name: sha256_file(path)
        for path in names
        if path.suffix in (".safetensors", ".json") and path.name != "run.json"
    }


def forget(workflow: Workflow) -> None:
    run("rm", "-rf", str(workflow.folder / MODEL), str(workflow.folder / "scratch/training"))


def attempts(workflow: Workflow) -> list[str]:
    from preftune.files import read_json

    return [one["error"] for one in read_json(workflow.folder / MODEL / "run.json")["failed_attempts"]]


def wait_for_checkpoint(workflow: Workflow, after: str = "") -> str:
    """The name of a checkpoint that is newer than another one."""

    def newest() -> str:
        names = sorted(
            path.name for path in (workflow.folder / "scratch/training").glob("train_sft-*/step-*")
        )
        return names[-1] if names else ""

    wait_until(lambda: newest() > after, "a checkpoint", 90)
    return newest()


def start(training: Workflow, *words: str) -> tuple[subprocess.Popen[str], str]:
    """Start a run and wait until its training has a checkpoint; the job's id."""
    process = training.start(*words, "--", MODEL)
    job = training.wait_for_job("train_sft")
    wait_for_checkpoint(training)
    return process, job


def end(training: Workflow, process: subprocess.Popen[str]) -> str:
    told = training.finish(process)
    assert process.returncode == 0, told[-5000:]
    return told


def test_a_cancelled_job(training: Workflow) -> None:
    """The plugin's own status query would wait for ever: "CANCELLED by 0"."""
    process, job = start(training)
    run("scancel", job)
    told = end(training, process)
    assert f"SLURM job {job} was cancelled" in told and "submitted again, from step-" in told
    assert "SIGTERM" in attempts(training)[0]


def test_the_time_limit(training: Workflow) -> None:
    """A minute's limit and a signal before it: the step writes a checkpoint, ends, and goes on in another job.

    SLURM may send the signal up to a minute early, so the training is held for a while to be there when it comes.
    """
    process, job = start(training, "--default-resources", "mem_mb=1000", "runtime=1", "slurm_extra='--signal=USR1@20'",
                         "--set-resources", "train_sft:runtime=1")  # fmt: skip
    step = step_processes(job)[-1]
    kill(step, signal.SIGSTOP)
    time.sleep(40)
    kill(step, signal.SIGCONT)
    told = end(training, process)
    assert "(SFT was told to stop (SIGUSR1)" in told and "submitted again, from step-" in told


@pytest.mark.parametrize("grace", [20, 0])
def test_preemption(grace: int, training: Workflow) -> None:
    """A job of a higher tier takes the node: the training ends by itself in its time of grace, or SLURM ends it.

    The plugin's own status query would wait for a job that is PREEMPTED and not requeued for ever.
    """
    run("scontrol", "update", "PartitionName=low", f"GraceTime={grace}")
    process, job = start(training, "--set-resources", "train_sft:slurm_partition=low")
    for _ in range(2):
        run(
            "sbatch",
            "--partition=cpu",
            "--account=ml",
            "--exclusive",
            "--time=5",
            "--output=/dev/null",
            "--wrap=sleep 15",
        )
    told = end(training, process)
    assert f"SLURM job {job} {'ended as FAILED' if grace else 'was preempted'}" in told
    assert "submitted again, from step-" in told and "SIGTERM" in attempts(training)[0]


def test_a_node_that_crashes(training: Workflow, cluster: Cluster) -> None:
    """Nobody reports; SLURM notices after its time, and the next job runs on another node."""
    process, job = start(training)
    node = run("squeue", "--noheader", "--jobs", job, "--format=%N").strip()
    cluster.crash(node)
    try:
        told = end(training, process)
    finally:
        cluster.start_node(node)
        wait_until(cluster.idle, "four idle nodes")
    assert f"SLURM job {job} lost its node" in told and "submitted again, from step-" in told
    assert attempts(training)[0] == "The job lost its node."


def test_the_controller_restarts(training: Workflow, cluster: Cluster) -> None:
    process, job = start(training)
    cluster.restart_controller(seconds=8)
    told = end(training, process)
    assert "submitted again" not in told
    assert job == str(read_slurm(training)["job_id"])


def read_slurm(workflow: Workflow) -> dict[str, object]:
    from preftune.files import read_json

    return dict(read_json(workflow.folder / MODEL / "run.json")["slurm"])


def test_snakemake_is_killed_and_started_again_while_its_job_runs(training: Workflow) -> None:
    """The second run finds the job, cancels it, and no two jobs write one output."""
    process, job = start(training)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert run("squeue", "--noheader", "--jobs", job, "--format=%T").strip() == "RUNNING"
    told = end(training, training.start("--", MODEL))
    assert f"1 jobs of a former run are still there, cancelling them: {job}" in told
    assert "SIGTERM" in attempts(training)[0] and "after step" in attempts(training)[0]


def test_ctrl_c_leaves_no_job(training: Workflow) -> None:
    process, _ = start(training)
    os.killpg(process.pid, signal.SIGINT)
    told = training.finish(process, 60)
    assert process.returncode != 0, told
    wait_until(lambda: not run("squeue", "--noheader"), "an empty queue", 40)
    end(training, training.start("--", MODEL))
    assert "SIGTERM" in attempts(training)[0]


@pytest.mark.parametrize("seed", range(5))
def test_killed_at_a_random_moment(seed: int, training: Workflow) -> None:
    """The step and everything around it on its node, without a signal that could be caught."""
    process = training.start("--", MODEL)
    job = training.wait_for_job("train_sft")
    time.sleep(random.Random(seed).uniform(1, 20))
    killed = [pid for pid in step_processes(job)[1:] if kill(pid, signal.SIGKILL)]
    assert killed, "the training had ended already"
    told = end(training, process)
    assert "submitted again" in told


def test_a_signal_that_reaches_the_topmost_process_alone(training: Workflow) -> None:
    """As SLURM sends it where it tracks processes by cgroups: Snakemake hands it down to the step."""
    process, job = start(training)
    kill(step_processes(job)[1], signal.SIGUSR1)
    told = end(training, process)
    assert "(SFT was told to stop (SIGUSR1)" in told and "submitted again, from step-" in told


def step_processes(job: str) -> list[int]:
    """The daemon of a job's step, the process that it started, and all below."""
    (stepd,) = run("pgrep", "-f", rf"slurmstepd: \[{job}\.0\]").split()[:1]
    return descendants(int(stepd))


def kill(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


GREEDY = """
    import os, pathlib, subprocess, time
    note = pathlib.Path("scratch/megabytes")
    if not note.exists():
        size = subprocess.check_output(["squeue", "-h", "-j", os.environ["SLURM_JOB_ID"], "-o", "%m"], text=True).strip()
        note.write_text(str(int(size[:-1]) * (1024 if size[-1] == "G" else 1) * 3 // 2))
    waste = b"1" * (int(note.read_text()) << 20)
    time.sleep(10)
"""
"""Takes half as much again as its first job asked for, long enough to be seen."""


def test_memory_grows_after_it_ran_out(long: Workflow, undisturbed: dict[str, str]) -> None:
    """SLURM kills what takes more than it asked for; the next job asks for twice as much and gets through."""
    forget(long)
    script = long.folder / "workflow/scripts/train_sft.py"
    text = script.read_text()
    script.write_text(text.replace('"""Fine-tune and write the model."""', GREEDY))
    try:
        told = long.run("--", MODEL)
    finally:
        script.write_text(text)
    assert "ran out of memory" in told and "submitted again, with twice the memory" in told
    jobs = re.findall(r"has been submitted with SLURM jobid (\d+)", told)
    lines = run("sacct", "-X", "-n", "-P", "--format=ReqMem", "--jobs", ",".join(jobs)).split()
    sizes = [float(line[:-1]) * (1024 if line[-1] == "G" else 1) for line in lines]
    assert len(sizes) == 2 and sizes[1] == 2 * sizes[0]

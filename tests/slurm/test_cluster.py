"""A part of the workflow on a real cluster: GPUs where they are asked for, retries that end, and errors in words."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from preftune.files import read_json, sha256_file
from tests.e2e.tiny_models import ROOT
from tests.slurm.cluster import run, succeeds, wait_until
from tests.slurm.conftest import MINIATURE, SITE, Workflow, submissions

RESULTS = "results/miniature"
SFT = f"{RESULTS}/dph/models/sft/seed-0"
FEATURES = "results/gpu/context_peft/features/tiny-encoder"
BROKEN = """def fail():
    from preftune.errors import PreftuneError
    raise PreftuneError("The moon is full: wait.")


"""


PART = ("--config", "only={tables: race}")


@pytest.fixture(scope="module")
def part(workflow: Workflow) -> str:
    """The output of a run for one table, with all that it is made from: data, trainings, evaluations."""
    workflow.config = MINIATURE
    return workflow.run(*PART, seconds=600)


def test_a_table_has_the_bytes_of_the_local_run(
    part: str, workflow: Workflow, finished: subprocess.CompletedProcess[str]
) -> None:
    assert "submitted again" not in part
    for suffix in ("csv", "md", "tex"):
        name = f"{RESULTS}/dph/tables/race.{suffix}"
        assert (workflow.folder / name).read_bytes() == (ROOT / name).read_bytes()


def test_a_second_run_submits_nothing(part: str, workflow: Workflow) -> None:
    told = workflow.run(*PART)
    assert "Nothing to be done" in told and not submissions(told)


def test_the_record_names_the_job(part: str, workflow: Workflow) -> None:
    record = read_json(workflow.folder / SFT / "run.json")
    assert record["slurm"]["job_id"] in submissions(part)


def test_a_cancelled_job_goes_on_and_ctrl_c_leaves_none(
    part: str, workflow: Workflow, tmp_path: Path
) -> None:
    """By hand, as an administrator does, and by Ctrl-C: in the end the model has the bytes of a quiet run on this machine."""
    # The data of the first run serve: only the training is another one.
    training = {"steps": 900, "batch": 4, "learning_rate": 1e-3, "checkpoint_minutes": 0.02}
    workflow.change_config(dph={"sft": {"training": training}})
    model = SFT
    process = workflow.start("--", model)
    job = workflow.wait_for_job("train_sft")
    wait_for_checkpoint(workflow)
    run("scancel", job)
    second = workflow.wait_for_job("train_sft")
    wait_until(lambda: workflow.wait_for_job("train_sft") != job, "another job")
    os.killpg(process.pid, signal.SIGINT)
    told = workflow.finish(process, 60)
    assert (
        process.returncode != 0
        and f"SLURM job {job} was cancelled" in told
        and "submitted again, from step-" in told
    )
    wait_until(lambda: not run("squeue", "--noheader"), f"an empty queue after {second}", 40)
    workflow.run("--", model)
    command = read_json(workflow.folder / model / "run.json")["command"]
    quiet = [str(tmp_path / "quiet") if word == model else word for word in command[1:]]
    subprocess.run(
        [sys.executable, *quiet],
        cwd=workflow.folder,
        check=True,
        capture_output=True,
        env=workflow.environment(),
    )
    assert weights(tmp_path / "quiet") == weights(workflow.folder / model)


def wait_for_checkpoint(workflow: Workflow) -> None:
    folder = workflow.folder / "scratch/training"
    wait_until(lambda: list(folder.glob("train_sft-*/step-*")), "a checkpoint")


def weights(folder: Path) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in folder.rglob("*.safetensors")}


@pytest.fixture
def encoding(workflow: Workflow) -> Iterator[Workflow]:
    """One step on a (pretended) GPU, whose output is missing; what a test changes is put back."""
    workflow.change_config(device="auto", results="results/gpu")
    script = workflow.folder / "workflow/scripts/compute_features.py"
    text = script.read_text()
    shutil.rmtree(workflow.folder / FEATURES, ignore_errors=True)
    yield workflow
    workflow.write_site()
    script.write_text(text)


def test_a_gpu_is_asked_for_once_and_comes_from_its_partition(encoding: Workflow) -> None:
    job = submissions(encoding.run("--", FEATURES))[-1]
    row = run("sacct", "-X", "-n", "-P", "--format=Partition,AllocTRES", "--jobs", job).strip().split("|")
    assert row[0] == "gpu" and "gres/gpu=1" in row[1] and "gres/gpu:a100=1" in row[1]


def test_a_step_that_fails_is_tried_three_times(encoding: Workflow) -> None:
    script = encoding.folder / "workflow/scripts/compute_features.py"
    text = script.read_text().replace("resolve_device(arguments.device)", "fail()")
    script.write_text(text.replace("def main(", f"{BROKEN}def main("))
    told = encoding.run("--", FEATURES, code=None)
    assert len(submissions(told)) == 3
    assert (
        "(The moon is full: wait.)" in told and "given up after 3 attempts without a new checkpoint" in told
    )


@pytest.mark.parametrize(
    ("site", "words", "says"),
    [
        (SITE.replace("gpu: gpu", "gpu: fast"), (), "partitions.gpu is fast, which this cluster does not have: choose one of cpu"),
        (SITE.replace("ml", "nobody"), (), "account is nobody, which you may not use: choose one of ml"),
        (SITE.replace("a100", "h100"), (), "asks for 1 GPUs h100 (gpu), the partition gpu gives at most 0"),
        (SITE + "fast: 1\n", (), "slurm/site.yaml: fast: Extra inputs are not permitted"),
        (SITE, ("--set-resources", "compute_features:mem_mb=999999"), "gives at most 128000: choose another partition in slurm/site.yaml, or lower it"),
        (SITE, ("--set-resources", "compute_features:runtime=9999"), "gives at most 1440: choose another partition in slurm/site.yaml, or lower it"),
    ],
)  # fmt: skip
def test_what_the_cluster_does_not_have_is_said_before_a_job_is_submitted(
    encoding: Workflow, site: str, words: tuple[str, ...], says: str
) -> None:
    encoding.write_site(site)
    told = encoding.run(*words, "--", FEATURES, code=1)
    assert says in told and not submissions(told)
    assert "Traceback" not in told


def test_a_job_without_the_gpu_that_it_needs_says_so(encoding: Workflow) -> None:
    encoding.write_site(SITE + "gpu_option: gres\n")  # as some sites want it
    encoding.change_config(device="cuda", results="results/gpu")
    told = encoding.run("--retries", "0", "--", FEATURES, code=1)
    assert "device is cuda but no GPU is visible" in told and "torch is built for" in told


def test_a_full_scratch_folder_is_a_sentence(encoding: Workflow, tmp_path: Path) -> None:
    if not succeeds("mount", "-t", "tmpfs", "-o", "size=4k", "none", str(tmp_path)):
        pytest.skip("no small disk can be mounted here")
    try:
        (tmp_path / "filler").write_bytes(b"1" * 4096)
        encoding.write_site(f"{SITE}scratch: {tmp_path}\n")
        told = encoding.run("--retries", "0", "--", FEATURES, code=1)
    finally:
        run("umount", str(tmp_path))
    assert "No space is left on the disk" in told


def test_two_runs_at_once_are_refused(encoding: Workflow) -> None:
    process = encoding.start("--", FEATURES)
    encoding.wait_for_job("compute_features", state="PENDING,RUNNING")
    words = [sys.executable, "-m", "snakemake", "--profile", "slurm", "--configfile", encoding.config, "--forcerun", "prepare_captions", "--", "results/gpu/context_peft/data/captions"]  # fmt: skip
    done = subprocess.run(
        words, cwd=encoding.folder, capture_output=True, text=True, check=False, env=encoding.environment()
    )
    assert done.returncode == 1 and "Another run is working in this checkout (process" in done.stderr
    os.killpg(process.pid, signal.SIGINT)
    encoding.finish(process, 60)

"""What becomes of SLURM jobs, without a cluster: its commands are pretended here (never sbatch), Snakemake's jobs are stand-ins."""

import asyncio
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from preftune.attempts import Attempts
from preftune.cluster import executor, slurm
from preftune.cluster.executor import check_active_jobs, explain
from preftune.cluster.history import History
from preftune.cluster.outcomes import Outcome, memory_factor, settle
from preftune.cluster.preflight import Nodes, check_jobs, check_site, read_partitions
from preftune.cluster.site import Site
from preftune.cluster.start import cancel_leftovers
from preftune.errors import PreftuneError
from preftune.leases import FAILED, Lease, list_leases
from tests.conftest import ROOT

AWAY = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
SITE = Site.model_validate({"partitions": {"cpu": "cpu", "gpu": "gpu"}, "gpu_model": "a100"})
_SQUEUE = """
for word; do case $word in --format=*) format=${word#*=};; --jobs) only=${*: -1};; esac; done
while IFS='|' read -r id state comment; do
    [ "$id" = "${only:-$id}" ] || continue
    line=${format//%A/$id} line=${line//%T/$state} line=${line//%r/None} line=${line//%Z/FOLDER}
    echo "${line//%k/$comment}" && found=yes
done < "$0.rows"
[ -z "$only" ] || [ "$found" ] || { echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1; }
"""


class Cluster:
    """Pretended commands of SLURM, which note how they are called; none answers before it is told what."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        for command in ("squeue", "sacct", "scancel", "sinfo", "sacctmgr"):
            self.fails(command, AWAY)

    def does(self, command: str, script: str) -> None:
        (self.bin / command).write_text(f'#!/bin/bash\necho "$*" >> "$0.calls"\n{script}\n')
        (self.bin / command).chmod(0o755)

    def fails(self, command: str, words: str) -> None:
        self.does(command, f"echo {shlex.quote(words)} >&2; exit 1")

    def prints(self, command: str, *lines: str) -> None:
        self.does(command, "cat <<'end'\n" + "\n".join([*lines, "end"]))

    def queue(self, *jobs: str, folder: Path = ROOT) -> None:
        """A squeue that knows these jobs: `id|state`, and perhaps a comment."""
        rows = [job if job.count("|") > 1 else f"{job}|rule_train_sft" for job in jobs]
        (self.bin / "squeue.rows").write_text("\n".join([*rows, ""]))
        self.does("squeue", _SQUEUE.replace("FOLDER", str(folder)))

    def calls(self, command: str) -> list[str]:
        return (self.bin / f"{command}.calls").read_text().splitlines()


class Job:
    """Snakemake's job, or a group of them."""

    def __init__(self, name: str = "train_sft", group: bool = False, output: Any = (), threads: int = 1,
                 retries: int = 30, **resources: Any) -> None:  # fmt: skip
        self.name, self.rule, self.threads = name, SimpleNamespace(name=name), threads
        self.resources, self.restart_times, self._attempt = resources, retries, 1
        self.output, self.expanded_output = ([], iter(output)) if group else (output, iter(()))
        self.is_group = lambda: group

    @property
    def attempt(self) -> int:
        return self._attempt


@pytest.fixture(autouse=True)
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setenv("PREFTUNE_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    return Cluster(tmp_path)


def info_of(number: str | None, job: Job | None = None, folder: Path = Path("logs")) -> Any:
    aux = {"slurm_logfile": folder / f"{number}.log"}
    return SimpleNamespace(job=job or Job(), external_jobid=number, aux=aux)


def check(*infos: Any) -> tuple[list[str], list[str]]:
    """The jobs that go on, and what is reported."""
    told: list[str] = []

    def fail(info: Any, msg: str, aux_logs: list[str]) -> None:
        told.append(f"{info.external_jobid} {msg} {aux_logs[0]}")

    async def look() -> list[str]:
        return [info.external_jobid async for info in check_active_jobs(fake, list(infos))]

    fake = SimpleNamespace(run_uuid="run", logger=SimpleNamespace(warning=told.append), report_job_error=fail)
    fake.report_job_success = lambda info: told.append(f"{info.external_jobid} success")
    return asyncio.run(look()), told


def leave_lease(output: Path, job: str = "7", **facts: Any) -> Lease:
    """The lease that a step of a SLURM job has left."""
    lease = Lease.take(output, "train_sft", identity=f"id-{output.name}")
    lease.note(slurm_job=job, **facts)
    return lease


def test_jobs_that_may_run_go_on_and_those_that_ended_are_reported(cluster: Cluster) -> None:
    states = ["RUNNING", "PENDING", "COMPLETING", "COMPLETED", "CANCELLED", "PREEMPTED", "TIMEOUT", "NODE_FAIL"]  # fmt: skip
    cluster.queue(*(f"{number}|{state}" for number, state in enumerate(states)))
    left, told = check(*(info_of(str(number)) for number in range(len(states))))
    assert left == ["0", "1", "2"]
    assert told == ["3 success", *(f"{number} {states[number]} logs/{number}.log" for number in range(4, 8))]
    assert len(cluster.calls("squeue")) == 1 and "--name run" in cluster.calls("squeue")[0]


def test_a_controller_that_does_not_answer_ends_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "_VANISHED", 0.0)
    left, (warning,) = check(info_of("1"), info_of("2"))
    assert left == ["1", "2"] and "its jobs go on" in warning and AWAY in warning


def test_a_job_that_squeue_does_not_list_yet_is_waited_for(cluster: Cluster) -> None:
    cluster.queue("9|RUNNING")
    cluster.prints("sacct", "FAILED")
    assert check(info_of("7")) == (["7"], [])


@pytest.mark.parametrize(("left", "accounting", "end"), [
    ("output", None, "success"),
    ("output, lease", None, "UNKNOWN"),
    ("nothing", None, "UNKNOWN"),
    ("nothing", "COMPLETED", "success"),  # Snakemake waits for its files
    ("output", "CANCELLED by 0", "CANCELLED"),
    ("lease", "PREEMPTED", "PREEMPTED"),
    ("output", "RUNNING", "success"),  # late
    ("lease", "RUNNING", "UNKNOWN"),
])  # fmt: skip
def test_a_vanished_job_is_judged_by_accounting_or_else_by_what_it_left(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str, accounting: str | None, end: str
) -> None:  # fmt: skip
    monkeypatch.setattr(executor, "_VANISHED", 0.0)
    cluster.queue("9|RUNNING")
    if accounting:
        cluster.prints("sacct", accounting)
    if "lease" in left:
        leave_lease(tmp_path / "model")
    if "output" in left:
        (tmp_path / "model").touch()
    for group in (False, True):
        going, (told,) = check(info_of("7", Job(group=group, output=[str(tmp_path / "model")])))
        assert going == [] and told in (f"7 {end}", f"7 {end} logs/7.log")


def test_late_accounting_does_not_say_how_a_job_ended(cluster: Cluster) -> None:
    cluster.prints("sacct", "RUNNING", "RUNNING")
    cluster.queue("7|TIMEOUT", "8|RUNNING")
    assert slurm.final_state("7") == "TIMEOUT"
    assert slurm.final_state("8") is None and slurm.final_state("9") is None


def test_a_step_that_failed_says_why_in_its_own_words(tmp_path: Path) -> None:
    leave_lease(tmp_path / "model", state=FAILED, error="The disk is full.", memory=False)
    leave_lease(tmp_path / "scores", state=FAILED, error="No memory.", memory=True)
    other = leave_lease(tmp_path / "other", job="8")
    outcome = settle("7", "FAILED", tmp_path / "no.log")
    assert outcome.sentence.startswith("SLURM job 7 ended as FAILED (") and outcome.starved == {"id-scores"}
    assert "(The disk is full.)" in outcome.sentence and "(No memory.)" in outcome.sentence
    assert [lease.path for lease in list_leases()] == [other.path]
    assert Attempts(tmp_path / "model").rows() == []  # it has noted its attempt itself


@pytest.mark.parametrize("accounting", ["RUNNING", "COMPLETED", "FAILED"])
def test_a_killed_step_s_attempt_is_noted(cluster: Cluster, tmp_path: Path, accounting: str) -> None:
    """What accounting says late changes nothing."""
    (tmp_path / "state/step-00000020").mkdir(parents=True)
    lease = leave_lease(tmp_path / "model", scratch=str(tmp_path / "state"))
    cluster.prints("sacct", accounting)
    (tmp_path / "7.log").write_text("The step itself writes of an oom_kill.\n")
    outcome = settle("7", "TIMEOUT", tmp_path / "7.log")
    assert outcome.sentence == "SLURM job 7 was stopped at its time limit"
    assert outcome.checkpoints == {tmp_path / "state/step-00000020"} and not outcome.starved
    (row,) = Attempts(tmp_path / "model").rows()
    assert row["error"] == "The job was stopped at its time limit." and list_leases() == []
    assert row["start"] == lease.facts["started"] and row["slurm"]["job_id"] == "7"


@pytest.mark.parametrize(("accounting", "log"), [
    (["FAILED", "FAILED", "OUT_OF_MEMORY"], ""),  # of the job, its script and its step
    (["FAILED"], "slurmstepd: error: Detected 1 oom_kill event in StepId=7.0.\n"),
    ([], "slurmstepd: error: Step 7.0 exceeded memory limit (4310 > 4096), being killed\n"),
])  # fmt: skip
@pytest.mark.parametrize("facts", [
    {},
    {"state": FAILED, "error": "A worker was killed.", "memory": False},
])  # fmt: skip
def test_memory_that_ran_out_shows_in_accounting_or_in_the_job_s_log(
    cluster: Cluster, tmp_path: Path, accounting: list[str], log: str, facts: dict[str, Any]
) -> None:
    cluster.prints("sacct", *accounting)
    leave_lease(tmp_path / "model", **facts)
    (tmp_path / "7.log").write_text(log)
    outcome = settle("7", "FAILED", tmp_path / "7.log")
    assert "ran out of memory" in outcome.sentence and outcome.starved == {"id-model"}


@pytest.mark.parametrize(("log", "words"), [
    ("failed train_sft sft seed-0: --data: x does not exist; make it first.\n    old line\n", "--data: x does not exist; make it first."),
    ("warning: a\nerror: config/no.yaml: is missing.\nerror: the last one counts.\n", "the last one counts."),
    ("Traceback:\n  File x\nModuleNotFoundError: No module named 'torch'\n", "ModuleNotFoundError: No module named 'torch'"),
    ("torch.OutOfMemoryError: CUDA out of memory.\n", "torch.OutOfMemoryError: CUDA out of memory."),
])  # fmt: skip
def test_a_step_without_a_lease_has_its_last_words_in_the_log(tmp_path: Path, log: str, words: str) -> None:
    (tmp_path / "7.log").write_text(log)
    assert settle("7", "FAILED", tmp_path / "7.log").sentence == f"SLURM job 7 ended as FAILED ({words})"


TWO = "a1 a1 a1 b1 a1 a1+b1 a1+b1"  # trainings of a group, whose checkpoints have the same name


@pytest.mark.parametrize("attempts", ["- - -", "a1 a1 a1 a2 a2 a2 a2", TWO])
def test_three_attempts_without_a_new_checkpoint_give_a_job_up(attempts: str) -> None:
    history, job = History(), Job()
    reached = [re.findall(r"(\w)(\d)", attempt) for attempt in attempts.split()]
    found = [frozenset(Path(f"{training}/step-{step}") for training, step in attempt) for attempt in reached]
    verdicts = [history.judge(job, Outcome("It ended", checkpoints), None) for checkpoints in found]
    assert [verdict.gives_up for verdict in verdicts] == [False] * (len(found) - 1) + [True]
    assert ("from step-1" in verdicts[1].sentence) == (attempts != "- - -")
    assert not history.judge(Job(), Outcome("It ended"), None).gives_up  # another job


def test_memory_that_grew_is_progress_and_memory_that_was_set_by_hand_is_none() -> None:
    starved = Outcome("It ran out of memory", starved=frozenset(["id"]))
    history, job = History(), Job()
    verdicts = [history.judge(job, starved, 4000 * 2**time) for time in range(6)]
    assert all("with twice the memory" in verdict.sentence for verdict in verdicts)
    verdicts = [history.judge(job, starved, 128000) for _ in range(3)]
    assert [verdict.gives_up for verdict in verdicts] == [False, False, True]


def test_the_end_of_a_job_decides_over_the_next_attempt(cluster: Cluster, tmp_path: Path) -> None:
    history, job = History(), Job(retries=5, mem_mb=4000)
    leave_lease(tmp_path / "model")
    cluster.prints("sacct", "OUT_OF_MEMORY")
    said = explain(info_of("7", job, tmp_path), "OUT_OF_MEMORY", history)
    assert said == "SLURM job 7 ran out of memory; it is submitted again, with twice the memory. "
    assert memory_factor("id-model") == 2 and job.attempt == 1
    cluster.fails("sacct", "Slurm accounting storage is disabled")
    first, _, third = [explain(info_of("8", job, tmp_path), "CANCELLED", history) for _ in range(3)]
    assert first == "SLURM job 8 was cancelled; it is submitted again. "
    assert "given up" in third and job.attempt == 6
    assert "no attempt is left" in explain(info_of("9", Job(retries=0)), "PREEMPTED", history)


def sbatch_says(words: str) -> str:
    """What the plugin reports of an sbatch that failed: with its call, which is none of SLURM's words."""
    return f"SLURM sbatch failed. The error message was 'sbatch: error: {words}'.\n    sbatch call:\n        sbatch --qos=QOS_A"


LIMITED = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"


@pytest.mark.parametrize("words", [
    "Batch job submission failed: Unable to contact slurm controller (connect failure)",
    "Batch job submission failed: Socket timed out on send/recv operation",
    f"AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: {LIMITED}",
    f"AssocGrpSubmitJobsLimit\nsbatch: error: Batch job submission failed: {LIMITED}",
])  # fmt: skip
def test_a_controller_that_is_away_and_a_limit_of_queued_jobs_cost_no_attempt(words: str) -> None:
    job = Job()
    said = explain(info_of(None, job), sbatch_says(words), History())
    assert said == f"SLURM cannot take the job now ({words.splitlines()[0]}); it is submitted again. "
    assert job.attempt == 0  # Snakemake counts one up


@pytest.mark.parametrize(("words", "remedy"), [
    ("Invalid account or account/partition combination specified", "correct `account` in slurm/site.yaml"),
    ("Invalid partition name specified", "correct `partitions` in slurm/site.yaml"),
    ("Requested node configuration is not available", "ask for less with set-resources"),
    ("Requested time limit is invalid (missing or exceeds some limit)", "lower the step's runtime"),
    ("Invalid generic resource (gres) specification", "correct `gpu_model` in slurm/site.yaml"),
    ("Invalid qos specification", "choose a quality of service"),
    ("The moon is full", "correct what SLURM names"),
    (f"QOSMaxWallDurationPerJobLimit\nsbatch: error: Batch job submission failed: {LIMITED}", ""),
])  # fmt: skip
def test_a_refusal_gives_up_with_slurm_s_words_and_the_remedy(words: str, remedy: str) -> None:
    job = Job()
    said = explain(info_of(None, job), sbatch_says(words), History())
    assert said.startswith(f"SLURM refused the job ({words.splitlines()[0]}") and f"): {remedy}" in said
    assert job.attempt == job.restart_times + 1


def test_a_comment_may_hold_anything(cluster: Cluster) -> None:
    cluster.queue("7|RUNNING|rule_a_wildcards_x|y|z", "8|PENDING|(null)", "9|TIMEOUT|")
    assert [(job.id, job.state, job.comment) for job in slurm.list_jobs()] == [
        ("7", "RUNNING", "rule_a_wildcards_x|y|z"), ("8", "PENDING", "(null)"), ("9", "TIMEOUT", ""),
    ]  # fmt: skip


def test_a_job_is_alive_until_slurm_says_otherwise(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.queue("7|COMPLETING", "8|PREEMPTED")
    assert [slurm.is_alive(job) for job in "789"] == [True, False, False]  # 9: Invalid job id
    assert "--me" not in cluster.calls("squeue")[0]  # a lease may be held by another user's job
    cluster.fails("squeue", AWAY)
    monkeypatch.setattr(slurm, "_PATIENCE", 0.0)
    with pytest.raises(PreftuneError, match="nobody knows whether job 7 still runs"):
        slurm.is_alive("7")


def test_a_job_that_ended_before_scancel_is_cancelled(cluster: Cluster) -> None:
    cluster.queue("7|COMPLETED", "9|RUNNING")
    cluster.fails("scancel", "scancel: error: Kill job error on job id 7: Invalid job id specified")
    slurm.cancel(["7", "7"])
    assert cluster.calls("scancel") == ["7"]
    with pytest.raises(PreftuneError, match="SLURM jobs 9 still run after scancel"):
        slurm.cancel(["7", "9"], patience=0.0)
    cluster.fails("squeue", AWAY)
    with pytest.raises(slurm.SilentError):
        slurm.cancel(["7"])


def test_leftovers_are_this_checkout_s_active_jobs_of_rules_and_groups(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    cluster.does("scancel", f"sed -i s/RUNNING/CANCELLED/ {cluster.bin}/squeue.rows")
    jobs = ["1|RUNNING|rule_train_sft_wildcards_x", "2|RUNNING|group_tables", "3|RUNNING|mine", "4|TIMEOUT|rule_a", "5|RUNNING|rule_a"]  # fmt: skip
    cluster.queue(*jobs)
    cancel_leftovers()
    assert cluster.calls("scancel") == ["1 2"] and "2 jobs of a former run" in capsys.readouterr().err
    cluster.queue(*jobs, folder=ROOT.parent)
    cancel_leftovers()
    assert len(cluster.calls("scancel")) == 1
    cluster.fails("squeue", AWAY)
    with pytest.raises(PreftuneError, match="SLURM does not answer"):
        cancel_leftovers()


def test_a_partition_offers_the_most_that_one_of_its_nodes_has(cluster: Cluster) -> None:
    cluster.prints(
        "sinfo", "cpu|64000|16|2:00:00|(null)", "gpu|128000|64|1-00:00:00|gpu:a100:4(S:0-1)",
        "gpu|256000|32|1-00:00:00|gpu:v100:2(S:0),lscratch:100", "gpu|64000|16|1-00:00:00|(null)",
        "long|64000|16|infinite|(null)",
    )  # fmt: skip
    found = read_partitions()
    assert found["cpu"] == Nodes(64000, 16, ",(null)", 120)
    assert found["gpu"] == Nodes(256000, 64, ",gpu:a100:4(S:0-1),gpu:v100:2(S:0),lscratch:100,(null)", 1440)
    assert found["long"].minutes > 10**6 and "--exact" in cluster.calls("sinfo")[0]
    cluster.fails("sinfo", AWAY)
    with pytest.raises(PreftuneError, match="call this on a login node"):
        read_partitions()


PARTITIONS = {"cpu": Nodes(64000, 16, ",(null)", 120), "gpu": Nodes(256000, 64, ",gpu:a100:4", 1440)}


def test_the_site_names_what_the_cluster_has(cluster: Cluster) -> None:
    check_site(SITE.model_copy(update={"account": "whatever"}), PARTITIONS)  # no accounting
    cluster.prints("sacctmgr", "biology", "Physics")
    check_site(SITE, PARTITIONS)
    check_site(SITE.model_copy(update={"account": "PHYSICS"}), PARTITIONS)
    with pytest.raises(PreftuneError, match=r"account is chemistry, .* choose one of biology, physics"):
        check_site(SITE.model_copy(update={"account": "chemistry"}), PARTITIONS)
    with pytest.raises(PreftuneError, match=r"partitions.gpu is gpu, .* choose one of cpu\."):
        check_site(SITE, {"cpu": PARTITIONS["cpu"]})


@pytest.mark.parametrize(("job", "said"), [
    (Job(mem_mb=65000), r"train_sft asks for 65000 MB .* cpu gives at most 64000: .*set-resources of train_sft"),
    (Job("tables", group=True, threads=20), r"the group tables asks for 20 CPUs .* at most 16: "),
    (Job(runtime=121), r"121 minutes .* at most 120"),
    (Job(gpu=5), r"5 GPUs a100 .* the partition gpu gives at most 4"),
    (Job(gpu=1, slurm_partition="cpu"), r"1 GPUs a100 .* the partition cpu gives at most 0"),
    (Job(slurm_partition="fat"), r"train_sft asks for the partition fat, which this cluster does not have"),
])  # fmt: skip
def test_a_job_that_no_node_can_take_is_refused_before_it_waits_for_ever(job: Job, said: str) -> None:
    check_jobs(SITE, PARTITIONS, [Job(mem_mb=64000, runtime=120, threads=16), Job(gpu=4, mem_mb=256000)])
    with pytest.raises(PreftuneError, match=said):
        check_jobs(SITE, PARTITIONS, [job])


_TOP = """
import subprocess, sys
from preftune.cluster.signals import hand_down_signals
hand_down_signals()
print(subprocess.run(["bash", "-c", 'set -e; "$0" step.py; true', sys.executable]).returncode)
"""
_STEP = """
import time
from pathlib import Path
from preftune.cluster.signals import receive_signals
receive_signals()
try:
    Path("ready").touch()
    time.sleep(30)
finally:
    Path("ending").touch()
    time.sleep(0.5)
    Path("checkpoint").touch()
"""


@pytest.mark.parametrize("numbers", [(signal.SIGTERM, signal.SIGUSR1), (signal.SIGUSR1, signal.SIGTERM)])
def test_a_signal_to_snakemake_ends_the_step_and_a_second_one_is_too_late(
    tmp_path: Path, numbers: tuple[int, int]
) -> None:
    (tmp_path / "step.py").write_text(_STEP)
    top = subprocess.Popen([sys.executable, "-c", _TOP], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        for name, number in zip(("ready", "ending"), numbers, strict=True):
            end = time.monotonic() + 20
            while not (tmp_path / name).exists():
                assert time.monotonic() < end and top.poll() is None, name
                time.sleep(0.02)
            top.send_signal(number)
        assert top.communicate(timeout=20) == (f"{128 + numbers[0]}\n", None)
    finally:
        top.kill()
    assert top.returncode == 0 and (tmp_path / "checkpoint").exists()

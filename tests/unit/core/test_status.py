"""What `make status` says, from records, leases, attempts, metrics and a pretended squeue; and of a training that runs."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from preftune.attempts import Attempts
from preftune.commands.config import plan_of
from preftune.commands.status import WIDTH, describe_status
from preftune.files import write_json
from preftune.leases import Lease
from preftune.workflow import state
from preftune.workflow.hours import count_hours
from preftune.workflow.jobs import Job
from preftune.workflow.plan import Plan
from preftune.workflow.registry import read_yaml
from preftune.workflow.resources import Forecast
from preftune.workflow.state import Stage, find_log, find_state, list_stages
from preftune.workflow.trainings import Progress, read_progress
from tests.conftest import ROOT
from tests.records import write_step

MINIATURE = "tests/e2e/miniature.yaml"
SFT = Job("train_sft", {"training": {"steps": 100}}, 0, "0" * 16)
START, END = "2026-01-01T00:00:00+00:00", "2026-01-01T01:00:00+00:00"


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases, logs and a squeue of this test alone."""
    monkeypatch.setenv("PREFTUNE_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setenv("PREFTUNE_SITE", str(tmp_path / "no-site.yaml"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    pretend_queue(tmp_path)


def pretend_queue(folder: Path, *jobs: str, fails: str = "") -> None:
    """A squeue that prints these jobs: `id|state|reason|comment`."""
    rows = [job.split("|") for job in jobs]
    lines = [f"echo '{number}|{state}|{reason}|{ROOT}|{comment}'" for number, state, reason, comment in rows]
    script = "\n".join(["#!/bin/sh", *lines, *([f"echo '{fails}' >&2; exit 1"] if fails else [])])
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin/squeue").write_text(script + "\n")
    (folder / "bin/squeue").chmod(0o755)


def make_plan(folder: Path, steps: int = 3) -> Plan:
    dph = read_yaml(ROOT / MINIATURE)["dph"]
    dph["sft"]["training"]["steps"] = steps
    places = {name: str(folder / name) for name in ("results", "resources")}
    return plan_of(MINIATURE, {**places, "dph": dph})


def stage_of(plan: Plan, end: str) -> Stage:
    (stage,) = [stage for stage in list_stages(plan) if stage.output.endswith(end)]
    return stage


def finish(stage: Stage, folder: Path, **facts: Any) -> None:
    """The stage's output and record, as its step leaves them."""
    output = Path(stage.output).relative_to(folder / "results").as_posix()
    stage.place.parent.mkdir(parents=True, exist_ok=True)
    stage.place.write_text("{}")
    known = {"prefix": str(folder / "results"), "identity": stage.job.identity}
    write_step(folder / "results", stage.job.rule, output, **(known | facts))


def hold(stage: Stage, **facts: object) -> Lease:
    """A lease of a stage by this process, or by whom the facts say."""
    lease = Lease.take(stage.place, stage.job.rule)
    lease.note(**facts)
    return lease


def test_every_stage_is_in_one_place(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    finish(stage_of(plan, "dph/overlap.json"), tmp_path)
    finish(stage_of(plan, "dph/gradients.json"), tmp_path, identity="of other code")
    hold(stage_of(plan, "dph/models/sft/seed-0"))
    hold(stage_of(plan, "dph/models/dpo-only/seed-0"), slurm_job="7")
    hold(stage_of(plan, "dph/models/dph-joint/seed-0"), born="long ago")
    hold(stage_of(plan, "dph/scores/sft/seed-0/run.json"), slurm_job="8")
    failed = stage_of(plan, "drift/sft/seed-0/drift.json")
    Attempts(failed.place).add(start=START, end=END, error="The first.", slurm=None)
    Attempts(failed.place).add(start=START, end=END, error="No memory was left.", slurm=None)
    Lease.take(tmp_path / "elsewhere/seed-0", "train_sft")
    pretend_queue(
        tmp_path,
        "7|RUNNING|None|rule_train_alignment_wildcards_dpo-only_0",
        "9|PENDING|Priority|rule_train_captioner_wildcards_lora-8-af-specific_0",
        "10|PENDING|Dependency|group_tables_tabulate_scores",
        "11|CANCELLED|None|rule_compute_overlap",
    )
    before = sorted(tmp_path.rglob("*"))
    text = describe_status(plan)
    assert sorted(tmp_path.rglob("*")) == before
    total = len(list_stages(plan))
    assert text.startswith(
        f"miniature ({MINIATURE}): done 1 of {total} stages, running 2, stopped 2, queued 1, failed 1, to do {total - 7}\n"
    )
    assert re.search(
        r"^  train_sft sft seed-0: step 0/3; since \d\d:\d\d \(0:0\d\), process \d+ on ", text, re.M
    )
    assert re.search(r"^  train_alignment dpo-only seed-0: .*SLURM job 7 on ", text, re.M)
    assert "  train_alignment dph-joint seed-0: process" in text
    assert (
        "  evaluate_tasks sft seed-0: SLURM job 8 is gone without a word; its next attempt starts from nothing"
        in text
    )
    assert "  train_captioner lora-8-af-specific seed-0: SLURM job 9, waits (Priority)" in text
    assert (
        "(2 attempts, the last at 2026-01-01" in text
        and "No memory was left." in text
        and "The first" not in text
    )
    assert "\n  SLURM job 10 group_tables_tabulate_scores\n  train_sft elsewhere seed-0\n" in text
    assert max(map(len, text.splitlines())) <= WIDTH


def test_a_queue_of_many_jobs_is_told_by_rule(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    datasets = [stage.place.name for stage in list_stages(plan) if stage.job.rule == "prepare_dataset"]
    rows = [f"{n}|PENDING|Resources|rule_prepare_dataset_wildcards_{name}" for n, name in enumerate(datasets)]
    pretend_queue(tmp_path, *rows, "99|RUNNING|None|rule_compute_gradients")
    text = describe_status(plan)
    assert f"queued {len(datasets) + 1}," in text
    assert (
        f"\n  prepare_dataset: {len(datasets)} jobs, waits (Resources)\n  compute_gradients: 1 job, starts\n"
        in text
    )


def test_a_silent_controller_makes_nothing_gone(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    hold(stage_of(plan, "dph/models/sft/seed-0"), slurm_job="7")
    pretend_queue(tmp_path, fails="Unable to contact slurm controller")
    text = describe_status(plan)
    assert "running 1, queued 0" in text
    assert "SLURM does not answer (Unable to contact slurm controller)" in text


def test_no_cluster_is_no_word_worth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "SLURM" not in describe_status(make_plan(tmp_path))


def test_the_leases_of_a_site_with_its_own_scratch_folder_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(tmp_path)
    monkeypatch.setenv("PREFTUNE_SCRATCH", str(tmp_path / "site"))
    hold(stage_of(plan, "dph/models/sft/seed-0"))
    monkeypatch.setenv("PREFTUNE_SCRATCH", str(tmp_path / "scratch"))
    hold(stage_of(plan, "dph/models/dpo-only/seed-0"))
    site = tmp_path / "site.yaml"
    site.write_text(f"partitions: {{cpu: a, gpu: b}}\nscratch: {tmp_path}/site\n")
    monkeypatch.setenv("PREFTUNE_SITE", str(site))
    monkeypatch.delenv("PREFTUNE_SCRATCH")
    ((stage, _),) = find_state(plan).running
    assert "sft/seed-0" in stage.output


def test_a_failure_shows_the_last_lines_of_its_own_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "ROOT", tmp_path)
    logs = tmp_path / "logs"
    for name in ("train_sft/sft/seed-0", "train_sft/sft/seed-1", "train_sft/sft-long/seed-0", "train_sft/sft/seed-0.rank-1",
                 "tabulate_scores/dph/label_noise", "tabulate_scores/dph/label", "export_report"):  # fmt: skip
        path = logs / f"{name}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name}\n")

    def log(rule: str, output: str) -> str | None:
        found = find_log(Stage(output, Job(rule, {}, 0, "")))
        return found and found.read_text().strip()

    assert log("train_sft", "results/dph/models/sft/seed-0") == "train_sft/sft/seed-0"
    assert log("train_sft", "results/dph/models/other/seed-0") is None
    assert log("tabulate_scores", "results/dph/tables/label_noise.csv") == "tabulate_scores/dph/label_noise"
    assert log("tabulate_scores", "results/dph/tables/label.csv") == "tabulate_scores/dph/label"
    assert log("export_report", "results/report.html") == "export_report"


def train(folder: Path, steps: int, checkpoints: dict[int, float]) -> Lease:
    """What a training leaves on the disk that began 1000 s after 0 and takes a step every 10 s."""
    lease = Lease.take(folder / "sft/seed-0", "train_sft")
    lease.note(scratch=str(folder / "state"))
    metrics = folder / f"sft/.{os.getpid()}.seed-0/metrics.jsonl"
    metrics.parent.mkdir(parents=True)
    rows = [json.dumps({"step": step, "loss": 10 / step}) + "\n" for step in range(1, steps + 1)]
    metrics.write_text("".join(rows) + '{"step": ')
    os.utime(metrics, (2000, 2000))
    os.utime(metrics.parent, (1000, 1000))
    for step, saved in checkpoints.items():
        (folder / f"state/step-{step:08d}").mkdir(parents=True)
        os.utime(folder / f"state/step-{step:08d}", (saved, saved))
    return lease


@pytest.mark.parametrize(
    ("checkpoints", "speed"),
    [
        ({}, 50 / 1000),
        ({40: 1800}, 50 / 1000),  # its first
        ({20: 500}, 30 / 1000),  # it went on from step 20
        ({20: 500, 40: 1800}, 30 / 1000),
        ({30: 1600, 40: 1800}, 20 / 400),  # where it began is deleted
    ],
)
def test_the_time_left_follows_from_steps_of_this_process(
    tmp_path: Path, checkpoints: dict[int, float], speed: float
) -> None:
    progress = read_progress(SFT, train(tmp_path, 50, checkpoints))
    assert progress is not None and progress.left == pytest.approx(50 / speed)
    assert (progress.step, progress.steps, progress.loss) == (50, 100, 0.2)
    assert progress.silent == pytest.approx(time.time() - 2000, abs=60)


def test_a_training_before_its_first_step_and_a_step_that_trains_nothing(tmp_path: Path) -> None:
    lease = train(tmp_path, 0, {})
    assert read_progress(SFT, lease) == Progress(0, 100)
    assert read_progress(Job("plot_margins", {}, 0, ""), lease) is None


def test_hours_are_all_attempts_and_what_is_left_goes_on_at_their_pace(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    forecast = Forecast(plan)
    drift = [stage for stage in list_stages(plan) if stage.job.rule == "evaluate_drift"]
    hour = {"start": START, "end": END, "error": "", "slurm": None}
    killed = hour | {"end": None}
    seconds = {"start": START, "end": END, "wall_seconds": 7200.0, "cpu_seconds": 1.0}
    finish(drift[0], tmp_path, time=seconds, failed_attempts=[hour, killed])
    write_json(drift[1].place.parent / ".drift.json.attempts.json", [hour])
    hours = count_hours(find_state(plan), forecast)
    foreseen = sum(forecast.of(stage.job).hours for stage in list_stages(plan))
    of_drift = [forecast.of(stage.job).hours for stage in drift]
    pace = 3 / of_drift[0]
    assert hours.used == pytest.approx(4) and hours.busy == 0
    assert hours.predicted == pytest.approx(foreseen)
    assert hours.left == pytest.approx(foreseen - sum(of_drift) + pace * sum(of_drift[1:]))
    hold(drift[1])
    hours = count_hours(find_state(plan), forecast)
    assert hours.busy == 1
    assert hours.left == pytest.approx(foreseen - sum(of_drift) + pace * sum(of_drift[1:]) - 1, abs=0.01)


def test_a_wrong_config_is_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "preftune", "status", "--configfile", "none.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "none.yaml" in done.stderr


def test_a_running_training_is_seen_and_then_its_end(base: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    from tests.unit.preference.helpers import save_mixes

    save_mixes(AutoTokenizer.from_pretrained(base), tmp_path)
    plan = make_plan(tmp_path, steps=3000)
    stage = stage_of(plan, "dph/models/sft/seed-0")
    script = str(ROOT / "workflow/scripts/train_sft.py")
    command = [sys.executable, script, "--base", str(base), "--data", str(tmp_path / "sft-mix"), "--output",
               stage.output, "--settings", json.dumps(stage.job.settings), "--device", "cpu"]  # fmt: skip
    training = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    found = wait_for(
        plan, training, r"train_sft sft seed-0: step (\d+)/3000, loss ([\d.]+), about [\d:]+ left; since"
    )
    later = wait_for(plan, training, rf"train_sft sft seed-0: step (?!{found[1]}/)(\d+)/3000, loss ([\d.]+)")
    assert int(later[1]) > int(found[1]) and 0 < float(found[2]) < 20
    training.send_signal(signal.SIGKILL)
    training.wait()
    assert f"train_sft sft seed-0: process {training.pid} is gone without a word" in describe_status(plan)
    training = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    wait_for(plan, training, r"step [1-9]\d*/3000")
    training.terminate()
    assert training.wait() == 75
    assert re.search(
        r"failed 1.*\(2 attempts, .*was told to stop\s+\(SIGTERM\)\s+after step", describe_status(plan), re.S
    )


def wait_for(plan: Plan, process: subprocess.Popen[bytes], pattern: str) -> re.Match[str]:
    """Until the status of a plan says something, while a process runs."""
    end = time.monotonic() + 90
    while process.poll() is None and time.monotonic() < end:
        text = describe_status(plan)
        if found := re.search(pattern, text):
            return found
        time.sleep(0.2)
    process.kill()
    pytest.fail(f"not said: {pattern}\n{text}")

"""What a run is doing now: by records, leases and failed attempts on the disk, and by SLURM. Nothing is locked or written."""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from preftune.attempts import Attempts
from preftune.cluster import slurm
from preftune.cluster.start import is_ours
from preftune.errors import PreftuneError
from preftune.leases import RUNNING, Lease, list_leases
from preftune.provenance.digest import ROOT
from preftune.workflow.jobs import Job
from preftune.workflow.outputs import list_selected, read_quietly, record_of
from preftune.workflow.plan import Plan
from preftune.workflow.reasons import lost_files

_WAITING = slurm.ACTIVE - {"COMPLETING"}
"""States of a job whose step has not begun, where it holds no lease."""


@dataclass(frozen=True)
class Stage:
    """One stage of the plan: its output as the workflow names it, and its job."""

    output: str
    job: Job

    @property
    def place(self) -> Path:
        """The output as the step is told it: a folder of scores, of which the workflow names the record."""
        path = ROOT / self.output
        return path.parent if path.name == "run.json" else path

    @property
    def label(self) -> str:
        """`train_sft sft seed-0`."""
        return name_step(self.job.rule, self.place)


@dataclass
class State:
    """Where each stage of a plan stands; every one in one place only.

    Attributes:
        done: stages with a record that is the plan's and all its files; with the record.
        running: those whose output a living process writes; with its lease.
        stopped: those whose process is gone without a word; with its lease.
        queued: those whose SLURM job has not begun; with the job.
        failed: those whose last attempt failed; with its row.
        waiting: all others.
        attempts: failed attempts at stages that are not done, by output.
        strangers: what else works here: stages of another config or part, and SLURM jobs of several stages.
        silence: why SLURM does not say which of its jobs live, or None.
    """

    plan: Plan
    done: list[tuple[Stage, Mapping[str, Any]]] = field(default_factory=list)
    running: list[tuple[Stage, Lease]] = field(default_factory=list)
    stopped: list[tuple[Stage, Lease]] = field(default_factory=list)
    queued: list[tuple[Stage, slurm.QueuedJob]] = field(default_factory=list)
    failed: list[tuple[Stage, Mapping[str, Any]]] = field(default_factory=list)
    waiting: list[Stage] = field(default_factory=list)
    attempts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    strangers: list[str] = field(default_factory=list)
    silence: str | None = None

    @property
    def left(self) -> list[Stage]:
        """Every stage that is not done."""
        begun = [
            stage for kind in (self.running, self.stopped, self.queued, self.failed) for stage, _ in kind
        ]
        return begun + self.waiting


def find_state(plan: Plan) -> State:
    """Look at every stage of the part of the plan that was asked for."""
    state, stages = State(plan), list_stages(plan)
    leases = {lease.facts["output"]: lease for lease in list_leases() if lease.facts["state"] == RUNNING}
    jobs = _ask_slurm(state, leases.values())
    alive = {output for output, lease in leases.items() if _is_alive(lease, jobs)}
    queued = _find_queued(state, jobs or [], stages, leases.values())
    for stage in stages:
        place = str(stage.place)
        record = None if place in alive else _find_record(stage)
        if record is not None:
            state.done.append((stage, record))
            continue
        rows = state.attempts[stage.output] = _read_attempts(stage)
        if place in alive:
            state.running.append((stage, leases[place]))
        elif stage.output in queued:
            state.queued.append((stage, queued[stage.output]))
        elif place in leases:
            state.stopped.append((stage, leases[place]))
        elif rows:
            state.failed.append((stage, rows[-1]))
        else:
            state.waiting.append(stage)
    state.running.sort(key=lambda pair: str(pair[1].facts["started"]))
    known = {str(stage.place) for stage in stages}
    state.strangers += [name_step(leases[one].facts["rule"], Path(one)) for one in sorted(alive - known)]
    return state


def list_stages(plan: Plan) -> list[Stage]:
    """Every stage of the part that was asked for; the audit too, if all was."""
    outputs = dict(list_selected(plan))
    if plan.config.only.whole:
        outputs[f"{plan.config.results}/audit.json"] = plan.audit()
    return [Stage(output, job) for output, job in outputs.items()]


def name_step(rule: str, output: Path) -> str:
    """A rule, and its output's path from the run on, or the last two parts where it belongs to none."""
    parts = output.parts
    run = next((place - 1 for place, part in enumerate(parts) if part.startswith("seed-")), len(parts) - 2)
    return " ".join((rule, *parts[run:]))


def find_log(stage: Stage) -> Path | None:
    """The log of a stage: of those of its rule the one whose path has the most words of the output's, and no others."""
    folder, words = ROOT / "logs" / stage.job.rule, _words(stage.output)
    found = {path: _words(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.log")}
    fitting = [path for path, own in found.items() if own <= words]
    if fitting:
        return max(fitting, key=lambda path: len(found[path]))
    alone = folder.with_name(f"{folder.name}.log")
    return alone if alone.is_file() else None


def seconds_since(moment: str) -> float:
    """Seconds from a time in a lease or record until now."""
    return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()


def _words(path: str | Path) -> frozenset[str]:
    """What paths of outputs, logs and the comments of SLURM jobs have in common: the values of a rule's wildcards."""
    return frozenset(re.split(r"[/_.]", str(path).replace("seed-", ""))) - {""}


def _find_record(stage: Stage) -> Mapping[str, Any] | None:
    """The record of a stage that is done."""
    record = read_quietly(record_of(stage.output))
    if record is None or record["identity"] != stage.job.identity or lost_files(stage.output, record):
        return None
    return record


def _read_attempts(stage: Stage) -> list[dict[str, Any]]:
    with suppress(PreftuneError):  # a success removes them while they are read
        return Attempts(stage.place).rows()
    return []


def _ask_slurm(state: State, leases: Iterable[Lease]) -> list[slurm.QueuedJob] | None:
    """Jobs of this user; None where nobody knows, which is worth a word if this checkout has submitted any."""
    try:
        return slurm.list_jobs("--me")
    except slurm.SilentError as error:
        submitted = (ROOT / ".snakemake/slurm_logs").is_dir()
        if submitted or any(lease.facts["slurm_job"] for lease in leases):
            state.silence = str(error).partition("\n")[0]
        return None


def _is_alive(lease: Lease, jobs: list[slurm.QueuedJob] | None) -> bool:
    """As far as anybody knows: a process on another machine, or a job while SLURM is silent, may well live."""
    job = lease.facts["slurm_job"]
    if job is None:
        return lease.is_held
    return jobs is None or any(one.id == job and one.state in slurm.ACTIVE for one in jobs)


def _find_queued(
    state: State, jobs: list[slurm.QueuedJob], stages: list[Stage], leases: Iterable[Lease]
) -> dict[str, slurm.QueuedJob]:
    """This checkout's jobs whose step has not begun, by the output of their stage; those of no one stage are strangers."""
    begun = {lease.facts["slurm_job"] for lease in leases}
    by_rule: dict[str, list[Stage]] = {}
    for stage in stages:
        by_rule.setdefault(stage.job.rule, []).append(stage)
    queued = {}
    for job in jobs:
        if not is_ours(job) or job.state not in _WAITING or job.id in begun:
            continue
        rule, _, values = job.comment.removeprefix("rule_").partition("_wildcards_")
        found = [stage for stage in by_rule.get(rule, []) if _words(values) <= _words(stage.output)]
        if found:
            queued[min(found, key=lambda stage: len(_words(stage.output))).output] = job
        else:
            state.strangers.append(f"SLURM job {job.id} {rule} {values}".rstrip())
    return queued

"""`preftune status`: where a run stands, from another terminal: it locks and writes nothing."""

import textwrap
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from preftune.leases import Lease
from preftune.progress import format_seconds
from preftune.provenance.digest import ROOT
from preftune.workflow.hours import Hours, count_hours
from preftune.workflow.plan import Plan
from preftune.workflow.resources import Forecast, format_hours
from preftune.workflow.state import Stage, State, find_log, find_state, seconds_since
from preftune.workflow.trainings import Progress, read_progress

WIDTH = 120
SHOWN = 10
"""Stages of one kind that are told one by one; more are told by rule."""
TAIL = 4
"""Lines of a failed stage's log that are shown."""


def describe_status(plan: Plan) -> str:
    """Stages done, running, queued and failed; how far trainings are; last lines of failures; hours used and left."""
    state = find_state(plan)
    hours = count_hours(state, Forecast(plan))
    lines = [_count(state)]
    for kind, entries in (
        ("running", [_describe_running(stage, lease) for stage, lease in state.running]),
        ("stopped", _describe_stopped(state)),
        ("queued", _describe_queued(state)),
        ("failed", _describe_failed(state)),
        ("not of this config or part, or of several stages", _describe_strangers(state)),
    ):
        lines += ["", f"{kind}:"] if entries else []
        lines += [line for entry in entries for line in _wrap(entry)]
    if state.silence:
        lines += [
            "",
            *_wrap(
                f"SLURM does not answer ({state.silence}): jobs may wait, and those that run may be gone.", 0
            ),
        ]
    return "\n".join([*lines, "", *_describe_hours(plan, state, hours)])


def _count(state: State) -> str:
    """`paper (config/paper.yaml): done 63 of 112 stages, running 2, queued 5, failed 1, to do 41`."""
    plan = state.plan
    kinds: dict[str, Sequence[object]] = {
        "running": state.running,
        "stopped": state.stopped,
        "queued": state.queued,
        "failed": state.failed,
        "to do": state.waiting,
    }
    total = len(state.done) + len(state.left)
    counts = [f"{kind} {len(found)}" for kind, found in kinds.items() if found or kind != "stopped"]
    return ", ".join(
        [f"{plan.config.scale} ({plan.source}): done {len(state.done)} of {total} stages", *counts]
    )


def _describe_running(stage: Stage, lease: Lease) -> str:
    facts = lease.facts
    holder = f"SLURM job {facts['slurm_job']} on" if facts["slurm_job"] else f"process {facts['pid']} on"
    since = f"since {_clock(facts['started'])} ({format_seconds(seconds_since(facts['started']))})"
    parts = [f"{since}, {holder} {facts['host']}"]
    progress = read_progress(stage.job, lease)
    if progress is not None:
        parts.insert(0, _describe_progress(progress))
    return f"{stage.label}: {'; '.join(parts)}"


def _describe_progress(progress: Progress) -> str:
    """`step 120/3000, loss 1.234, about 12:31 left`."""
    words = [f"step {progress.step}/{progress.steps}"]
    if progress.loss is not None:
        words.append(f"loss {progress.loss:.4g}")
    if progress.silent is not None:
        words.append(f"no step for {format_seconds(progress.silent)}")
    elif progress.left is not None:
        words.append(f"about {format_seconds(progress.left)} left")
    return ", ".join(words)


def _describe_stopped(state: State) -> list[str]:
    """Those whose process ended without a word: killed, out of memory, or its machine is lost."""
    entries = []
    for stage, lease in state.stopped[:SHOWN]:
        job, pid = lease.facts["slurm_job"], lease.facts["pid"]
        holder = f"SLURM job {job}" if job else f"process {pid}"
        again = f"goes on from {lease.checkpoint.name}" if lease.checkpoint else "starts from nothing"
        entries.append(f"{stage.label}: {holder} is gone without a word; its next attempt {again}")
    return entries + _count_rest([stage for stage, _ in state.stopped])


def _describe_queued(state: State) -> list[str]:
    if len(state.queued) > SHOWN:
        counts = Counter((stage.job.rule, _reason(job.state, job.reason)) for stage, job in state.queued)
        return [
            f"{rule}: {_plural(count, 'job')}, {reason}" for (rule, reason), count in counts.most_common()
        ]
    return [
        f"{stage.label}: SLURM job {job.id}, {_reason(job.state, job.reason)}" for stage, job in state.queued
    ]


def _reason(state: str, reason: str) -> str:
    """Why a job waits, in SLURM's word; one that has its node has none."""
    if state != "PENDING":
        return "starts"
    return "waits" if reason == "None" else f"waits ({reason})"


def _describe_failed(state: State) -> list[str]:
    """How the last attempt ended, and the last lines of its log."""
    entries = []
    for stage, last in state.failed[:SHOWN]:
        count, log = len(state.attempts[stage.output]), find_log(stage)
        attempts = f"{_plural(count, 'attempt')}, the last" if count > 1 else "1 attempt,"
        entries.append(f"{stage.label} ({attempts} at {_clock(last['start'])}): {last['error']}")
        if log is not None:
            told = {"", f"error: {last['error']}"}
            lines = [
                line for line in log.read_text(errors="replace").splitlines() if line.strip() not in told
            ]
            entries[-1] += (
                "".join(f"\n| {line}" for line in lines[-TAIL:]) + f"\nwhole log: {log.relative_to(ROOT)}"
            )
    return entries + _count_rest([stage for stage, _ in state.failed])


def _describe_strangers(state: State) -> list[str]:
    more = len(state.strangers) - SHOWN
    return state.strangers[:SHOWN] + ([f"and {more} more"] if more > 0 else [])


def _count_rest(stages: list[Stage]) -> list[str]:
    counts = Counter(stage.job.rule for stage in stages[SHOWN:])
    rules = ", ".join(f"{rule} {count}" for rule, count in counts.most_common())
    return [f"and {counts.total()} more: {rules}"] if counts else []


def _describe_hours(plan: Plan, state: State, hours: Hours) -> list[str]:
    unit, place = ("GPU hours", "GPU") if plan.config.training_gpus else ("CPU hours", "stage")
    used = f"{unit}: {_round(hours.used)} used, about {_round(hours.predicted)} predicted for the whole plan"
    if not state.left:
        return [f"{used}; nothing is left"]
    lines = [f"{used}, about {_round(hours.left)} left"]
    if hours.busy:
        left = format_seconds(3600 * hours.left / hours.busy)
        lines.append(
            f"time left: about {left} with {_plural(hours.busy, place)} at work, as now (an estimate)"
        )
    return lines


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _round(hours: float) -> str:
    return format_hours(hours, digits=2)


def _clock(moment: str) -> str:
    """A time of the user's day; with its date where that is not today."""
    local = datetime.fromisoformat(moment).astimezone()
    return f"{local:%H:%M}" if local.date() == datetime.now().date() else f"{local:%Y-%m-%d %H:%M}"


def _wrap(entry: str, indent: int = 2) -> list[str]:
    """An entry in lines of the width; lines of a log are cut."""
    first, *others = entry.split("\n")
    before, after = " " * indent, " " * (indent + 4)
    lines = textwrap.wrap(
        first, WIDTH, initial_indent=before, subsequent_indent=after, break_on_hyphens=False
    )
    return lines + [f"{after}{line}"[:WIDTH] for line in others]

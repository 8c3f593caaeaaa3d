"""How Snakemake's SLURM executor behaves here: methods that take the place of the plugin's (version 2.8.0).

The plugin waits for ever for a job that was cancelled by hand ("CANCELLED by 0") or preempted, forgets every job when one
round of status queries fails, leaves jobs behind that are being submitted at Ctrl-C, never uses a node again that was lost
once, and asks for accounts on clusters without accounting. Its submission and its logs stay.
"""

import asyncio
import contextlib
import re
import shlex
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from preftune.cluster import slurm
from preftune.cluster.history import History
from preftune.cluster.outcomes import Outcome, ended_well, mark_memory, settle
from preftune.cluster.site import Site
from preftune.errors import PreftuneError

VERSION = "2.8.0"
_VANISHED = 60.0  # seconds after which a job that squeue does not list has ended
_AWAY = 20.0  # seconds before a job is submitted again that SLURM could not take now
_BUSY = (
    "Unable to contact slurm controller", "Socket timed out", "Connection refused", "Resource temporarily", "Zero Bytes were",
    "standby mode", "Slurm temporarily unable",
)  # fmt: skip
"""What sbatch says when the controller is away: it passes. So does a limit of queued jobs, whose name has `Submit` in it."""
_REFUSED = {
    "invalid account": "correct `account` in slurm/site.yaml",
    "invalid partition": "correct `partitions` in slurm/site.yaml",
    "requested node configuration is not available": "ask for less with set-resources in slurm/config.yaml, or choose another "
    "partition in slurm/site.yaml",
    "requested time limit is invalid": "lower the step's runtime with set-resources in slurm/config.yaml",
    "invalid generic resource": "correct `gpu_model` in slurm/site.yaml",
    "qos": "choose a quality of service that allows it (`qos` in slurm/site.yaml)",
}


def adopt(site: Site) -> None:
    """Give the plugin's executor the methods of this module."""
    import snakemake_executor_plugin_slurm as plugin

    history = History()
    report, report_safely = plugin.Executor.report_job_error, plugin.Executor._report_job_error_threadsafe

    def get_account_arg(self: Any, job: Any) -> Iterator[str]:
        named = {
            "account": job.resources.get("slurm_account") or site.account,
            "qos": site.qos,
            "constraint": site.constraint,
        }
        yield "".join(f" --{key}={shlex.quote(str(value))}" for key, value in named.items() if value)

    def get_partition_arg(self: Any, job: Any) -> str:
        wanted = site.partitions.gpu if job.resources.get("gpu") else site.partitions.cpu
        return f" -p {shlex.quote(str(job.resources.get('slurm_partition') or wanted))}"

    def set_gres_string(job: Any) -> str:
        count = job.resources.get("gpu")
        words = ["gpu" if site.gpu_option == "gres" else None, site.gpu_model, count]
        asked = ":".join(str(word) for word in words if word)
        return f" --nodes=1 --{site.gpu_option}={asked}" if count else ""

    def report_job_error(self: Any, info: Any, msg: str | None = None, **words: Any) -> None:
        sentence = explain(info, msg or "", history)
        report(self, info, msg=sentence, **words)
        if info.job.is_group():  # of which Snakemake prints no message
            self.logger.error(sentence)

    def report_refusal(self: Any, info: Any, msg: str) -> None:
        if _passes(msg):
            time.sleep(_AWAY)  # in the plugin's thread that submits, not in the one that looks after the jobs
        report_safely(self, info, msg)

    plugin.set_gres_string = set_gres_string
    plugin.Executor.get_account_arg = get_account_arg
    plugin.Executor.get_partition_arg = get_partition_arg
    plugin.Executor.report_job_error = report_job_error
    plugin.Executor._report_job_error_threadsafe = report_refusal
    plugin.Executor.check_active_jobs = check_active_jobs
    plugin.Executor.cancel_jobs = cancel_jobs


def cancel_jobs(executor: Any, active: list[Any]) -> None:
    """Ctrl-C: nothing more is submitted, and every job of this run is cancelled, also one that is just being looked at."""
    executor._job_submission_executor.shutdown(wait=True, cancel_futures=True)
    with contextlib.suppress(slurm.SilentError):
        slurm.ask("scancel", "--me", "--name", executor.run_uuid)


async def check_active_jobs(executor: Any, active: list[Any]) -> AsyncIterator[Any]:
    """Report the jobs of this run that have ended and yield the others; a controller that does not answer ends none."""
    executor.next_seconds_between_status_checks = None  # no growing pauses: one query serves all jobs
    if not active:
        return
    try:
        queued = await asyncio.to_thread(slurm.list_jobs, "--me", "--name", executor.run_uuid)
    except slurm.SilentError as error:
        executor.logger.warning(f"SLURM does not answer ({error}); its jobs go on, asking again.")
        queued = None
    jobs = {job.id: job for job in queued or []}
    for info in active:
        job = jobs.get(info.external_jobid)
        state = None if queued is None else _final_state(info, job)
        if state is None:
            yield info
        elif state == "COMPLETED":
            executor.report_job_success(info)
        else:
            executor.report_job_error(info, msg=state, aux_logs=[str(info.aux["slurm_logfile"])])


def _final_state(info: Any, job: slurm.QueuedJob | None) -> str | None:
    """The state in which a job ended, or None while it may run; one that squeue does not list was just submitted, or ended."""
    now = time.monotonic()
    if job is not None:
        info.aux["seen"] = now
        return None if job.state in slurm.ACTIVE else job.state
    if now - info.aux.setdefault("seen", now) < _VANISHED:
        return None
    made = ended_well(info.external_jobid) and all(Path(str(one)).exists() for one in _outputs(info.job))
    return slurm.final_state(info.external_jobid) or ("COMPLETED" if made else "UNKNOWN")


def _outputs(job: Any) -> list[Any]:
    return list(job.expanded_output) if job.is_group() else list(job.output)


def explain(info: Any, msg: str, history: History) -> str:
    """Why a job ended and what happens next, in one sentence; decides whether Snakemake may try it again."""
    job = info.job
    if info.external_jobid is None:
        return _explain_refusal(job, msg)
    try:
        outcome = settle(info.external_jobid, msg, Path(info.aux["slurm_logfile"]))
        for identity in outcome.starved:
            mark_memory(identity)
    except (PreftuneError, OSError, ValueError) as error:
        outcome = Outcome(f"SLURM job {info.external_jobid} ended as {msg} ({error})")
    verdict = history.judge(job, outcome, job.resources.get("mem_mb"))
    if verdict.gives_up:
        _give_up(job)
    elif job.attempt > job.restart_times:
        left = "no attempt is left (retries in slurm/config.yaml): start again to go on"
        return f"{outcome.sentence}; {left}. "
    return f"{outcome.sentence}; {verdict.sentence}. "


def _passes(msg: str) -> bool:
    """Whether SLURM refused a job for now only."""
    limit = re.search(r"error: (\w+Limit)\b", msg)
    return "Submit" in limit[1] if limit else any(mark in msg for mark in _BUSY)


def _explain_refusal(job: Any, msg: str) -> str:
    """sbatch refused the job: for good, or for now, which costs no attempt."""
    errors = [line.rstrip("'. ") for line in re.findall(r"error: ([^\n]+)", msg)] or [msg.strip()]
    words = errors[0]
    if _passes(msg):
        job._attempt -= 1  # Snakemake counts one up
        return f"SLURM cannot take the job now ({words}); it is submitted again. "
    _give_up(job)
    remedy = next(
        (text for mark, text in _REFUSED.items() if mark in " ".join(errors).lower()),
        "correct what SLURM names",
    )
    return f"SLURM refused the job ({words}): {remedy}. "


def _give_up(job: Any) -> None:
    """Snakemake tries a job again while its attempts are below `retries`."""
    # Not by the setter, which would have the job's resources worked out anew before they are freed.
    job._attempt = job.restart_times + 1

"""How Snakemake's SLURM executor behaves here: methods that take the place of the plugin's (version 2.8.0).

The plugin waits for ever for a job that was cancelled by hand ("CANCELLED by 0") or preempted, forgets every job when one
status query fails, and asks for accounts on clusters without accounting. Its submission, cancellation and logs stay.
"""

import asyncio
import shlex
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from preftune.cluster import slurm
from preftune.cluster.outcomes import Outcome, ended_well, mark_memory, settle
from preftune.cluster.site import Site

VERSION = "2.8.0"
FRUITLESS = 3
"""Attempts without a new checkpoint after which a job is given up."""
_VANISHED = 60.0  # seconds after which a job that squeue does not list has ended
_BUSY = (
    "Unable to contact slurm controller",
    "Socket timed out",
    "Connection refused",
    "Resource temporarily",
)
_REFUSED = {
    "Invalid account": "correct `account` in slurm/site.yaml",
    "Invalid partition": "correct `partitions` in slurm/site.yaml",
    "invalid partition": "correct `partitions` in slurm/site.yaml",
    "Requested node configuration is not available": "ask for less with set-resources in slurm/config.yaml, or choose another "
    "partition in slurm/site.yaml",
    "Requested time limit is invalid": "lower the step's runtime with set-resources in slurm/config.yaml",
    "Invalid generic resource": "correct `gpu_model` in slurm/site.yaml",
    "QOS": "choose a quality of service that you may use (slurm-qos in slurm/config.yaml)",
}


def adopt(site: Site) -> None:
    """Give the plugin's executor the methods of this module."""
    import snakemake_executor_plugin_slurm as plugin

    history: dict[Any, list[str | None]] = {}

    def get_account_arg(self: Any, job: Any) -> Any:
        account = job.resources.get("slurm_account") or site.account
        yield f" -A {shlex.quote(str(account))}" if account else ""

    def get_partition_arg(self: Any, job: Any) -> str:
        wanted = site.partitions.gpu if job.resources.get("gpu") else site.partitions.cpu
        return f" -p {shlex.quote(str(job.resources.get('slurm_partition') or wanted))}"

    def set_gres_string(job: Any) -> str:
        count = job.resources.get("gpu")
        return f" --gpus={site.gpu_model + ':' if site.gpu_model else ''}{count}" if count else ""

    def report_job_error(self: Any, info: Any, msg: str | None = None, **words: Any) -> None:
        sentence = explain(info, msg, history)
        report(self, info, msg=sentence, **words)

    report = plugin.Executor.report_job_error
    plugin.set_gres_string = set_gres_string
    plugin.Executor.get_account_arg = get_account_arg
    plugin.Executor.get_partition_arg = get_partition_arg
    plugin.Executor.report_job_error = report_job_error
    plugin.Executor.check_active_jobs = check_active_jobs


async def check_active_jobs(executor: Any, active: list[Any]) -> AsyncIterator[Any]:
    """Report the jobs of this run that have ended and yield the others; a controller that does not answer ends none."""
    executor.next_seconds_between_status_checks = None  # no growing pauses: one query serves all jobs
    if not active:
        return
    try:
        queued = await asyncio.to_thread(slurm.list_jobs, "--name", executor.run_uuid)
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
            if job is not None and state == "NODE_FAIL":
                executor._failed_nodes.add(job.node)
            executor.report_job_error(info, msg=state, aux_logs=[str(info.aux["slurm_logfile"])])


def _final_state(info: Any, job: slurm.QueuedJob | None) -> str | None:
    """The state in which a job ended, or None while it may run; one that squeue does not list was just submitted, or ended."""
    now = time.monotonic()
    if job is not None:
        info.aux["seen"] = now
        return None if job.state in slurm.ACTIVE else job.state
    if now - info.aux.setdefault("seen", now) < _VANISHED:
        return None
    return slurm.final_state(info.external_jobid) or (
        "COMPLETED" if ended_well(info.external_jobid) else "UNKNOWN"
    )


def explain(info: Any, msg: str | None, history: dict[Any, list[str | None]]) -> str:
    """Why a job ended and what happens next, in one sentence; decides whether Snakemake may try it again."""
    job = info.job
    if info.external_jobid is None:
        return _explain_refusal(job, msg or "")
    outcome = settle(info.external_jobid, msg or "UNKNOWN", Path(info.aux["slurm_logfile"]))
    members = list(job.jobs) if job.is_group() else [job]
    if outcome.memory:
        for member in members:
            mark_memory(member.rule.name, member.wildcards_dict)
    return f"{outcome.sentence}; {_judge(job, outcome, history)}. "


def _judge(job: Any, outcome: Outcome, history: dict[Any, list[str | None]]) -> str:
    """Whether the job is tried again; without a new checkpoint it is, two times."""
    tried = history.setdefault(job, [])
    tried.append(outcome.checkpoint)
    if outcome.memory:
        tried.clear()  # it comes back with more memory
    last = tried[-FRUITLESS:]
    if len(last) == FRUITLESS and len(set(last)) == 1:
        _give_up(job)
        return f"it is given up after {FRUITLESS} attempts without a new checkpoint: mend the cause and start again"
    if job.attempt > job.restart_times:
        return "no attempt is left (retries in slurm/config.yaml): start again to go on"
    how = "with twice the memory" if outcome.memory else f"from {outcome.checkpoint or 'its start'}"
    return f"it is submitted again, {how}"


def _explain_refusal(job: Any, msg: str) -> str:
    """sbatch refused the job: for good, or because the controller was away, which costs no attempt."""
    if any(mark in msg for mark in _BUSY):
        time.sleep(10)
        job._attempt -= 1  # Snakemake counts one up
        return f"SLURM's controller does not answer; the job is submitted again ({msg.strip()})"
    _give_up(job)
    remedy = next((text for mark, text in _REFUSED.items() if mark in msg), "correct what SLURM names")
    words = next((line.strip() for line in msg.splitlines() if "rror" in line), msg.strip())
    return f"SLURM refused the job ({words}): {remedy}. "


def _give_up(job: Any) -> None:
    """Snakemake tries a job again while its attempts are below `retries`."""
    job._attempt = (
        job.restart_times + 1
    )  # the setter would work out the job's resources anew before they are freed

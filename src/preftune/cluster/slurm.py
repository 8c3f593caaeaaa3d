"""Questions to SLURM, by its own commands; none of them needs accounting, and accounting is asked where it answers."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass

from preftune.errors import PreftuneError

ACTIVE = {
    "PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "STAGE_OUT", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING",
    "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT",
}  # fmt: skip
"""States of a job that may still run; all others are final."""
_PATIENCE = 60.0  # seconds for which a controller that does not answer is asked again


class SilentError(Exception):
    """SLURM did not answer: its controller is restarting, or its commands are not here."""


@dataclass(frozen=True)
class QueuedJob:
    """One job as `squeue` shows it."""

    id: str
    state: str
    folder: str
    comment: str
    reason: str
    """Why it waits, in SLURM's word."""


def own_job() -> str | None:
    """The id of the job that this process runs in, or None outside SLURM."""
    return os.environ.get("SLURM_JOB_ID")


def ask(*words: str) -> str:
    """The output of a SLURM command.

    Raises:
        SilentError: it failed, with SLURM's own words.
    """
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise SilentError(str(error)) from error
    if done.returncode:
        raise SilentError(done.stderr.strip())
    return done.stdout


def list_jobs(*words: str) -> list[QueuedJob]:
    """Jobs in any state that `squeue` still knows, chosen by `words` (options of squeue; `--me`: this user's).

    Raises:
        SilentError: the controller does not answer.
    """
    lines = ask("squeue", "--noheader", "--states=all", "--format=%A|%T|%r|%Z|%k", *words).splitlines()
    found = [line.split("|", 4) for line in lines if line.count("|") >= 4]
    return [QueuedJob(job, state, folder, comment, reason) for job, state, reason, folder, comment in found]


def final_state(job: str) -> str | None:
    """The state in which a job ended, by accounting or by what the controller remembers; None where neither knows it.

    Memory that ran out shows in the state of a job's step while the job itself is FAILED: it is what counts. Accounting may
    be some seconds late, so that a state which is not final says nothing.
    """
    for words in (
        ("sacct", "--noheader", "--parsable2", "--format=State", "--jobs", job),
        ("squeue", "--noheader", "--states=all", "--format=%T", "--jobs", job),
    ):
        try:
            # "CANCELLED by 0": the second and third word say by whom.
            states = [line.split()[0] for line in ask(*words).splitlines() if line.strip()]
        except SilentError:
            continue
        if "OUT_OF_MEMORY" in states:
            return "OUT_OF_MEMORY"
        if states and states[0] not in ACTIVE:
            return states[0]
    return None


def is_alive(job: str) -> bool:
    """Whether a job may still run.

    Raises:
        PreftuneError: SLURM does not answer for a minute, so that nobody knows.
    """
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            return any(one.state in ACTIVE for one in list_jobs("--jobs", job))
        except SilentError as error:
            if "Invalid job id" in str(error):
                return False
            if time.monotonic() > end:
                raise PreftuneError(
                    f"SLURM does not answer ({error}), so nobody knows whether job {job} still runs: try again later."
                ) from error
        time.sleep(2)


def cancel(jobs: Iterable[str], patience: float = 180.0) -> None:
    """Cancel jobs and wait until none of them runs any more.

    Raises:
        PreftuneError: some still run after `patience` seconds.
        SilentError: the controller does not answer.
    """
    wanted = sorted(set(jobs))
    with contextlib.suppress(SilentError):  # one that has ended since is no fault
        ask("scancel", *wanted)
    end = time.monotonic() + patience
    while left := [job.id for job in list_jobs("--me") if job.id in wanted and job.state in ACTIVE]:
        if time.monotonic() > end:
            raise PreftuneError(
                f"SLURM jobs {' '.join(left)} still run after scancel: cancel them by hand, then start again."
            )
        time.sleep(1)

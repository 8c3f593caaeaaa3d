"""How a job ended, from SLURM's final state and the lease that it left, and what that means for the next attempt."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from preftune.attempts import Attempts
from preftune.cluster import slurm
from preftune.files import read_json, write_json
from preftune.leases import RUNNING, list_leases
from preftune.provenance.digest import ROOT
from preftune.provenance.record import now

_SAYS = {
    "OUT_OF_MEMORY": "ran out of memory",
    "TIMEOUT": "was stopped at its time limit",
    "PREEMPTED": "was preempted",
    "NODE_FAIL": "lost its node",
    "CANCELLED": "was cancelled",
    "DEADLINE": "was stopped at its deadline",
    "BOOT_FAIL": "got a node that did not start",
}


_KILLED = ("exceeded memory limit", "oom-kill", "oom_kill", "Out Of Memory")


@dataclass(frozen=True)
class Outcome:
    """What is known of one ended job.

    Attributes:
        sentence: how it ended, with the last words of its steps.
        checkpoint: newest checkpoint of its trainings; equal ones mean that an attempt got no further.
        memory: whether it ended because the host's memory ran out.
    """

    sentence: str
    checkpoint: str | None
    memory: bool


def settle(job: str, state: str, log: Path) -> Outcome:
    """Read and remove the leases that an ended SLURM job has left; a step that was killed gets its failed attempt noted.

    Memory that ran out shows in accounting, in the state of a job's step, or in what SLURM writes into the job's log.
    """
    left = [lease for lease in list_leases() if lease.facts["slurm_job"] == job]
    # A step that ended by itself says why; one that was killed cannot.
    words = [str(lease.facts["error"]) for lease in left if lease.facts["state"] != RUNNING]
    final = "OUT_OF_MEMORY" if _tells_memory(log) else slurm.final_state(job) or state
    memory = final == "OUT_OF_MEMORY" or any(lease.facts.get("memory") for lease in left)
    says = " ".join([_SAYS.get(final, f"ended as {final}"), *(f"({word})" for word in words)])
    checkpoint = max((lease.checkpoint for lease in left if lease.checkpoint), default=None)
    for lease in left:
        if lease.facts["state"] == RUNNING:
            slurm_job = {"job_id": job, "restart_count": 0}
            Attempts(Path(lease.facts["output"])).add(
                start=lease.facts["started"], end=now(), error=f"The job {says}.", slurm=slurm_job
            )
        lease.release()
    return Outcome(f"SLURM job {job} {says}", checkpoint, memory)


def _tells_memory(log: Path) -> bool:
    """Whether SLURM's daemon wrote that it killed a step for its memory."""
    try:
        text = log.read_text(errors="replace")
    except OSError:
        return False
    return any(mark in line for line in text.splitlines() if "slurmstepd" in line for mark in _KILLED)


def ended_well(job: str) -> bool:
    """Whether a job that SLURM no longer knows has ended well: a step removes its lease only when it has succeeded."""
    return all(lease.facts["slurm_job"] != job for lease in list_leases())


def _marker(rule: str, wildcards: Mapping[str, str]) -> Path:
    name = "-".join([rule, *(str(wildcards[key]) for key in sorted(wildcards.keys()))])
    return Path(os.environ.get("PREFTUNE_SCRATCH", ROOT / "scratch")) / "out-of-memory" / f"{name}.json"


def mark_memory(rule: str, wildcards: Mapping[str, str]) -> None:
    """Note that a job ran out of memory: from now on it asks for twice as much."""
    path = _marker(rule, wildcards)
    write_json(path, {"times": memory_factor(rule, wildcards).bit_length()})


def memory_factor(rule: str, wildcards: Mapping[str, str]) -> int:
    """By what a job's memory is multiplied: twice for each time that it ran out; 1 where it never did."""
    path = _marker(rule, wildcards)
    return 2 ** int(read_json(path)["times"]) if path.is_file() else 1

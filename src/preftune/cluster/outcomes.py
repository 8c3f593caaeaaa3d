"""How a job ended, from SLURM's final state and the lease that it left, and what that means for the next attempt."""

import re
from dataclasses import dataclass
from pathlib import Path

from preftune.attempts import Attempts
from preftune.cluster import slurm
from preftune.cluster.site import scratch_folder
from preftune.files import read_json, write_json
from preftune.leases import RUNNING, list_leases
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
        checkpoints: the newest checkpoint of each of its trainings; no new ones mean that an attempt got no further.
        starved: identities of its steps that ran when the host's memory ran out.
    """

    sentence: str
    checkpoints: frozenset[Path] = frozenset()
    starved: frozenset[str] = frozenset()


def settle(job: str, state: str, log: Path) -> Outcome:
    """Read and remove the leases that an ended SLURM job has left; a step that was killed gets its failed attempt noted.

    Memory that ran out shows in accounting, in the state of a job's step, or in what SLURM writes into the job's log.
    """
    left = [lease for lease in list_leases() if lease.facts["slurm_job"] == job]
    killed = [lease for lease in left if lease.facts["state"] == RUNNING]
    text = _read(log)
    final = slurm.final_state(job)
    final = "OUT_OF_MEMORY" if final == "OUT_OF_MEMORY" or _tells_memory(text) else state
    # A step that ended by itself says why; one that was killed cannot.
    words = [str(lease.facts["error"]) for lease in left if lease not in killed] or _last_words(text)
    end = _SAYS.get(final, f"ended as {final}")
    says = " ".join([end, *(f"({word})" for word in words)])
    starved = [lease for lease in left if lease.facts.get("memory")]
    # A step may outlive a worker of its own that was killed, and then fail of that.
    starved += (killed or left) if final == "OUT_OF_MEMORY" else []
    found = frozenset(lease.checkpoint for lease in left if lease.checkpoint)
    for lease in killed:
        Attempts(Path(lease.facts["output"])).add(
            start=lease.facts["started"],
            end=now(),
            error=f"The job {end}.",
            slurm={"job_id": job, "restart_count": 0},
        )
    for lease in left:
        lease.release()
    identities = frozenset(str(lease.facts["identity"]) for lease in starved if lease.facts["identity"])
    return Outcome(f"SLURM job {job} {says}", found, identities)


def _read(log: Path) -> str:
    try:
        return log.read_text(errors="replace")
    except OSError:
        return ""


def _tells_memory(text: str) -> bool:
    """Whether SLURM's daemon wrote that it killed a step for its memory."""
    return any(mark in line for line in text.splitlines() if "slurmstepd" in line for mark in _KILLED)


def _last_words(text: str) -> list[str]:
    """What a step wrote that failed before it had a lease: its sentence, or the last line of a trace."""
    found = re.findall(r"^(?:failed [^:]+: |error: |(?=[\w.]*(?:Error|Exception): ))(.+)$", text, re.M)
    return found[-1:]


def ended_well(job: str) -> bool:
    """Whether a job that SLURM no longer knows has ended well: a step removes its lease only when it has succeeded."""
    return all(lease.facts["slurm_job"] != job for lease in list_leases())


def _marker(identity: str) -> Path:
    return scratch_folder() / "out-of-memory" / f"{identity}.json"


def mark_memory(identity: str) -> None:
    """Note that the job of this identity ran out of memory: from now on it asks for twice as much."""
    write_json(_marker(identity), {"times": memory_factor(identity).bit_length()})


def memory_factor(identity: str) -> int:
    """By what a job's memory is multiplied: twice for each time that it ran out; 1 where it never did."""
    path = _marker(identity)
    return 2 ** int(read_json(path)["times"]) if path.is_file() else 1

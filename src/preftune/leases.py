"""Leases: which process writes an output now. One file each in scratch/leases/, so that no two jobs write one output.

They are files that say who holds them, not locks of the file system: after a node crashes, a network file system may keep
its locks for good, while SLURM knows that the job is gone.
"""

import contextlib
import hashlib
import json
import os
import socket
from pathlib import Path
from typing import Any

from preftune.cluster import slurm
from preftune.cluster.site import scratch_folder
from preftune.errors import PreftuneError
from preftune.files import explain_full_disk, write_json
from preftune.provenance.record import now

RUNNING, FAILED = "running", "failed"


def leases_folder() -> Path:
    """Where leases lie."""
    return scratch_folder() / "leases"


def list_leases() -> list["Lease"]:
    """Every lease that can be read."""
    found = ((path, _read(path)) for path in sorted(leases_folder().glob("[!.]*.json")))
    return [Lease(path, facts) for path, facts in found if facts is not None]


class Lease:
    """The right to write one output.

    Attributes:
        facts: output, rule, identity, state, slurm_job, host, pid, born, started, scratch (folder of checkpoints); after a failure
            error and memory (whether it ran out).
        former: facts of a holder that died without a word and whose lease was taken over, or None.
    """

    def __init__(self, path: Path, facts: dict[str, Any], former: dict[str, Any] | None = None) -> None:
        self.path, self.facts, self.former = path, facts, former

    @classmethod
    def take(cls, output: Path, rule: str, identity: str | None = None) -> "Lease":
        """Take the lease of an output for this process; that of a process that is gone is taken over.

        `identity` is the job's, by which the run that submitted it knows it.

        Raises:
            PreftuneError: a process that may still run holds it.
        """
        name = os.path.abspath(output)
        path = leases_folder() / f"{rule}-{hashlib.sha256(name.encode()).hexdigest()[:16]}.json"
        facts = {
            "output": name,
            "rule": rule,
            "identity": identity,
            "state": RUNNING,
            "slurm_job": slurm.own_job(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "born": _born(os.getpid()),
            "started": now(),
            "scratch": None,
        }
        former = None
        while not _create(path, facts):
            held = _read(path)
            if held is not None and _is_alive(held):
                raise PreftuneError(
                    f"{name} is being written by {_describe(held)}: wait for it, or stop it and call this again; if its "
                    f"machine is gone for good, delete {path}."
                )
            if _remove(path, held) and held is not None and held["state"] == RUNNING:
                former = held
        return cls(path, facts, former)

    def note(self, **facts: Any) -> None:
        """Write further facts into the lease, which must still be this process's."""
        self.check()
        self.facts |= facts
        write_json(self.path, self.facts)

    def fail(self, sentence: str, memory: bool) -> None:
        """Give the lease up after a failure; in a SLURM job it stays as a message to the run that submitted the job."""
        if self.facts["slurm_job"] is None:
            self.release()
        else:
            self.note(state=FAILED, error=sentence, memory=memory)

    def check(self) -> None:
        """Raise PreftuneError if another process has taken the lease over since: it was taken for dead."""
        if _read(self.path) != self.facts:
            raise PreftuneError(
                f"another process took over the writing of {self.facts['output']}, because SLURM reported this one as gone; "
                "nothing is written."
            )

    def release(self) -> None:
        """Give the lease up."""
        _remove(self.path, self.facts)

    @property
    def is_held(self) -> bool:
        """Whether its holder may still run."""
        return _is_alive(self.facts)

    @property
    def checkpoint(self) -> Path | None:
        """The newest checkpoint of the holder's training, or None."""
        folder = self.facts["scratch"]
        return max(Path(folder).glob("step-*"), default=None) if folder else None


def _create(path: Path, facts: dict[str, Any]) -> bool:
    """Write a lease where there is none; a hard link appears whole or not at all, on network file systems too."""
    with explain_full_disk(path):
        own = path.with_name(f".{facts['host']}-{facts['pid']}.{path.name}")
        write_json(own, facts)
        try:
            os.link(own, path)
        except FileExistsError:
            return False
        finally:
            own.unlink()
    return True


def _remove(path: Path, expected: dict[str, Any] | None) -> bool:
    """Remove a lease that still says what is expected; if another one has replaced it meanwhile, that stays."""
    aside = path.with_name(f".{socket.gethostname()}-{os.getpid()}.old.{path.name}")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return False
    same = _read(aside) == expected
    if not same:
        with contextlib.suppress(FileExistsError):  # its holder has written it again
            os.link(aside, path)
    aside.unlink()
    return same


def _read(path: Path) -> dict[str, Any] | None:
    try:
        facts = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) else None


def _is_alive(facts: dict[str, Any]) -> bool:
    if facts["state"] != RUNNING:
        return False
    job, here = facts["slurm_job"], facts["host"] == socket.gethostname()
    # Within one allocation SLURM cannot tell an earlier step of it from one that still runs.
    if job is not None and not (here and job == slurm.own_job()):
        return slurm.is_alive(job)
    return not here or _born(facts["pid"]) == facts["born"]


def _born(pid: int) -> str | None:
    """When a process of this machine started, in ticks since boot; None where there is none of that number."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None


def _describe(facts: dict[str, Any]) -> str:
    if facts["slurm_job"] is not None:
        return f"SLURM job {facts['slurm_job']} (since {facts['started']})"
    return f"process {facts['pid']} on {facts['host']} (since {facts['started']})"

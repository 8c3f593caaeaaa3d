"""Why a step ended: one sentence, the exit code, and whether the host's memory ran out."""

import signal
from dataclasses import dataclass
from pathlib import Path

from preftune import progress
from preftune.errors import PreftuneError
from preftune.files import explain_full_disk
from preftune.training.interruption import AGAIN, InterruptedTraining

_MEMORY = ("DefaultCPUAllocator", "not enough memory", "Cannot allocate memory")
"""What the host's memory running out looks like in an error's text; a GPU's own is not helped by asking for more of it."""
_TAIL = 20


@dataclass(frozen=True)
class Failure:
    """How a step failed.

    Attributes:
        sentence: what happened, where, and the remedy.
        code: exit code of the process.
        memory: whether the host's memory ran out.
        unexpected: whether it is no error that the project foresees, so that its trace belongs into the log.
    """

    sentence: str
    code: int = 1
    memory: bool = False
    unexpected: bool = False

    def show(self, label: str, log: Path | None) -> None:
        """Tell the user at the terminal; a log's last lines say more than the sentence, but not of a step that goes on."""
        if log is None:
            return
        if self.code == AGAIN:
            progress.say(f"stopped {label}: {self.sentence}")
            return
        tail = [f"    {line}" for line in log.read_text(errors="replace").splitlines()[-_TAIL:]]
        progress.say("\n".join([f"failed {label}: {self.sentence}", *tail, f"  whole log: {log}"]))


def describe_failure(error: BaseException, output: Path) -> Failure | None:
    """The failure that an exception means for the step that writes `output`; None where a script ends itself."""
    if isinstance(error, InterruptedTraining):
        return Failure(str(error), AGAIN)
    if isinstance(error, PreftuneError):
        return Failure(str(error), memory=lacked_memory(error.__cause__))
    if isinstance(error, KeyboardInterrupt):
        return Failure("interrupted: nothing finished is lost, the same command starts this step again.", 130)
    if isinstance(error, SystemExit):
        return _describe_exit(error)
    if isinstance(error, OSError):
        try:
            with explain_full_disk(output):
                raise error
        except PreftuneError as problem:
            return Failure(str(problem))
        except OSError:
            pass
    return Failure(f"{type(error).__name__}: {error}", memory=lacked_memory(error), unexpected=True)


def _describe_exit(error: SystemExit) -> Failure | None:
    """A signal's handler ends a step with 128 and the signal's number."""
    if not isinstance(error.code, int) or error.code <= 128:
        return None
    name = signal.Signals(error.code - 128).name
    return Failure(f"stopped by {name}: the same command starts this step again.", error.code)


def lacked_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, says that the host had no memory left."""
    while error is not None:
        text = str(error)
        if isinstance(error, MemoryError) or ("CUDA" not in text and any(mark in text for mark in _MEMORY)):
            return True
        error = error.__cause__ or error.__context__
    return False

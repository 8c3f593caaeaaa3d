"""From SLURM to the step: the signals before a time limit and at preemption reach the process that can write a checkpoint.

Where SLURM tracks processes by cgroups, it signals a job step's topmost process alone: Snakemake, which dies of the one and
waits at the other. So Snakemake's process in a job blocks both and hands them to all processes below it; they inherit the
block, and a step lifts it where it takes the signals.
"""

import contextlib
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

STOPS = (signal.SIGTERM, signal.SIGUSR1)


def hand_down_signals() -> None:
    """Called by Snakemake's process inside a job step: from now on the processes below it get the signals."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    threading.Thread(target=_hand_down, daemon=True).start()


def receive_signals() -> None:
    """Called by a step: a signal ends it with 128 and its number, so that nothing half-written is left behind."""
    if threading.current_thread() is threading.main_thread():
        for number in STOPS:
            signal.signal(number, _end)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


def _end(number: int, frame: FrameType | None) -> None:
    # It may come twice, from SLURM itself and handed down: the second one must not disturb the end.
    for stop in STOPS:
        signal.signal(stop, signal.SIG_IGN)
    sys.exit(128 + number)


def _hand_down() -> None:
    while True:
        number = signal.sigwait(STOPS)
        for pid in _descendants():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def _descendants() -> list[int]:
    """Processes below this one, whatever their process group: torchrun gives each of its own one."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
        children.setdefault(parent, []).append(int(path.parent.name))
    found, waiting = [], [os.getpid()]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found

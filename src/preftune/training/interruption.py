"""Being told to stop: SIGTERM, SIGUSR1 and Ctrl-C let the present step finish, so that a checkpoint can be written."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
AGAIN = 75
"""Exit code of a step that was told to stop and can go on: EX_TEMPFAIL of sysexits.h, "try again later"."""


class InterruptedTraining(Exception):
    """Training was told to stop; its state is in a checkpoint, the same command goes on from there."""


class StopRequest:
    """Whether, and by which signal, the process was told to stop."""

    def __init__(self) -> None:
        self.signal: str | None = None

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt  # a second Ctrl-C does not wait for the step
        self.signal = signal.Signals(number).name


@contextmanager
def watch_signals() -> Iterator[StopRequest]:
    """Note the stop signals inside the block instead of dying of them; the handlers from before return after it."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request._note) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

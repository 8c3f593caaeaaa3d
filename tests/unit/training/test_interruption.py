"""Signals that ask a training to stop."""

import signal
import threading
from collections.abc import Iterator

import pytest

from preftune.training.interruption import watch_signals

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
Caught = list[int]


@pytest.fixture(autouse=True)
def caught() -> Iterator[Caught]:
    """Handlers from before, which note what reaches them: a signal that is let through does not end the tests."""
    numbers: Caught = []
    before = {number: signal.signal(number, lambda number, _: numbers.append(number)) for number in SIGNALS}
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGINT"])
def test_a_signal_is_noted_and_does_not_end_the_block(name: str, caught: Caught) -> None:
    with watch_signals() as request:
        assert request.signal is None
        signal.raise_signal(signal.Signals[name])
        assert request.signal == name
    assert caught == []


@pytest.mark.parametrize("fails", [False, True])
def test_the_handlers_from_before_return(fails: bool, caught: Caught) -> None:
    """After an error in the block too."""
    before = [signal.getsignal(number) for number in SIGNALS]
    try:
        with watch_signals() as request:
            during = [signal.getsignal(number) for number in SIGNALS]
            if fails:
                raise ZeroDivisionError
    except ZeroDivisionError:
        assert fails
    assert not set(during) & set(before)
    assert [signal.getsignal(number) for number in SIGNALS] == before
    for number in SIGNALS:
        signal.raise_signal(number)
    assert caught == list(SIGNALS) and request.signal is None


def test_blocks_nest(caught: Caught) -> None:
    """The inner block notes for itself and gives back to the outer one."""
    with watch_signals() as outer:
        with watch_signals() as inner:
            signal.raise_signal(signal.SIGTERM)
        assert (inner.signal, outer.signal) == ("SIGTERM", None)
        signal.raise_signal(signal.SIGUSR1)
        assert (inner.signal, outer.signal) == ("SIGTERM", "SIGUSR1")


@pytest.mark.parametrize("first", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_ctrl_c_does_not_wait_twice(first: str, caught: Caught) -> None:
    """Once the training was told to stop, Ctrl-C stops it at once."""
    with pytest.raises(KeyboardInterrupt), watch_signals():
        signal.raise_signal(signal.Signals[first])
        signal.raise_signal(signal.SIGINT)
    assert caught == []


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_other_signals_may_come_again(name: str) -> None:
    """A batch system repeats its warning: the step still ends."""
    with watch_signals() as request:
        signal.raise_signal(signal.SIGINT)
        for _ in range(2):
            signal.raise_signal(signal.Signals[name])
    assert request.signal == name


def test_in_a_thread_nothing_is_installed(caught: Caught) -> None:
    """Only the main thread may install handlers: elsewhere the block runs, and no signal is noted."""
    before = [signal.getsignal(number) for number in SIGNALS]
    seen: list[object] = []

    def work() -> None:
        with watch_signals() as request:
            seen.extend([[signal.getsignal(number) for number in SIGNALS], request])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    handlers, request = seen
    assert handlers == before and request.signal is None
    assert [signal.getsignal(number) for number in SIGNALS] == before

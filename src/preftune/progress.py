"""Progress with rate and time left: a live bar on a terminal, one plain line a minute elsewhere."""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO, TypeVar

from preftune.processes import leads

T = TypeVar("T")

_PLAIN_SECONDS = 60.0
_terminal: TextIO | None = None
_label = ""


def set_terminal(stream: TextIO | None, label: str) -> None:
    """Send progress to `stream`, the user's terminal, although the step's own output goes to its log (None: stderr)."""
    global _terminal, _label
    _terminal, _label = stream, label


def redirect_output(log: Path) -> TextIO:
    """Send all that this process and its children print to a file; returns what was the terminal."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    terminal = os.fdopen(os.dup(2), "w", buffering=1)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
    return terminal


def get_terminal() -> tuple[TextIO | None, str]:
    """What `set_terminal` was given last."""
    return _terminal, _label


def _stream() -> TextIO:
    return sys.stderr if _terminal is None else _terminal


def say(sentence: str) -> None:
    """Print one line where the user looks; of several data-parallel processes the first one does."""
    if not leads():
        return
    print(sentence, file=_stream(), flush=True)


def format_seconds(seconds: float) -> str:
    """0:07, 12:34 or 1:02:03."""
    minutes, second = divmod(max(0, round(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def _bar(done: int, total: int, width: int = 20) -> str:
    filled = done * width // total if total else width
    return "#" * filled + "." * (width - filled)


def _line(description: str, done: int, total: int, unit: str, seconds: float, in_them: int) -> str:
    rate = in_them / seconds if seconds > 0 else 0.0
    left = (total - done) / rate if rate else 0.0
    speed = f"{rate:.1f} {unit}/s" if rate >= 1 or not rate else f"{1 / rate:.1f} s/{unit}"
    units = f"{unit}es" if unit.endswith("ch") else f"{unit}s"
    return f"{description} [{_bar(done, total)}] {done}/{total} {units}, {speed}, {format_seconds(left)} left"


def track(
    items: Iterable[T], description: str, total: int | None = None, unit: str = "step", done: int = 0
) -> Iterator[T]:
    """Yield `items` while showing done/total, rate and time left; `done` of `total` were done before.

    Concurrent workflow jobs share one terminal, so a live bar is drawn only for a script run by hand
    (`PREFTUNE_PLAIN_PROGRESS` unset and a terminal); otherwise one line a minute.
    """
    sized = list(items) if total is None else items
    count = total if total is not None else len(sized)  # type: ignore[arg-type]
    name = f"{_label}: {description}" if _label else description
    live = _stream().isatty() and not os.environ.get("PREFTUNE_PLAIN_PROGRESS")
    every = 0.2 if live else _PLAIN_SECONDS
    start = shown = time.monotonic()
    for number, item in enumerate(sized, start=1):
        yield item
        now = time.monotonic()
        if now - shown >= every or (live and done + number == count):
            shown = now
            text = _line(name, done + number, count, unit, now - start, number)
            print(f"\r{text}\033[K" if live else text, end="" if live else "\n", file=_stream(), flush=True)
    if live:
        print(file=_stream(), flush=True)

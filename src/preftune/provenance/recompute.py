"""Tables computed once more from the score files that their records name, and compared with what is printed."""

import contextlib
import importlib
import io
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from preftune import progress
from preftune.files import read_json
from preftune.provenance.digest import ROOT, SCRIPTS
from preftune.provenance.records import Fault, Record
from preftune.provenance.store import Store

LEFT_OUT = ("--log", "--identity")


def check_table(store: Store, record: Record) -> Iterator[Fault]:
    """Compare each file of one table with what its command line writes today."""
    with tempfile.TemporaryDirectory() as scratch:
        outputs = {output["path"]: Path(scratch, Path(output["path"]).name) for output in record.outputs()}
        words = relocate(store, record, outputs)
        if not {str(path) for path in outputs.values()} <= set(words):
            says = f"{record.made} cannot be computed again: its command line does not name its outputs as its record does."
            yield Fault("broken", record.made, says, store.remake(record.made))
            return
        problem = run_again(record.rule, words)
        marks = _mark(record, [path for path in outputs.values() if path.name.endswith(".audit.json")])
        for name, again in outputs.items():
            if problem or not again.is_file():
                says = f"{name} cannot be computed again: {problem or 'nothing was written'}."
                yield Fault("broken", name, says, store.remake(name))
                return
            path = store.locate(name)
            if path.is_file():
                there = path.read_text(errors="replace")
                yield from _compare(store, name, there, marks(_renamed(store, again.read_text())))


def _mark(record: Record, audits: list[Path]) -> Callable[[str], str]:
    """Give a text the fingerprint of its day, which is checked by itself: a published input may lack its hidden states."""
    new = next((read_json(path)["fingerprint"] for path in audits if path.is_file()), "")
    old = record.facts.get("fingerprint", new)
    return lambda text: text.replace(new, old) if new else text


def relocate(store: Store, record: Record, outputs: dict[str, Path]) -> list[str]:
    """The words of the step's command line with its results where they lie now and its outputs elsewhere."""
    words = iter(record.facts["command"][2:])
    kept: list[str] = []
    for word in words:
        if word in LEFT_OUT:
            next(words, None)
        elif word in outputs:
            kept.append(str(outputs[word]))
        elif word.startswith(f"{store.prefix}/"):
            path = store.locate(word)
            kept.append(path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path))
        else:
            kept.append(word)
    return kept


def run_again(rule: str, words: list[str]) -> str:
    """Call a step's script in this process, silently; the sentence that it fails with, or nothing."""
    heard = io.StringIO()
    try:
        with _as_if_alone(), contextlib.redirect_stderr(heard), contextlib.redirect_stdout(heard):
            importlib.import_module(rule).main(words)
    except SystemExit as stop:
        if stop.code not in (1, 2):  # the audit itself was told to stop
            raise
        lines = [line for line in heard.getvalue().splitlines() if "error: " in line]
        return lines[-1].partition("error: ")[2].rstrip(".") if lines else "its script failed"
    return ""


@contextlib.contextmanager
def _as_if_alone() -> Iterator[None]:
    """Where a script runs; what it sets in this process is put back: folder, path, signals, and the progress line's place."""
    before, handlers = (
        os.getcwd(),
        {stop: signal.getsignal(stop) for stop in (signal.SIGTERM, signal.SIGUSR1)},
    )
    shown = progress.get_terminal()
    sys.path.insert(0, str(SCRIPTS))
    os.chdir(ROOT)
    try:
        yield
    finally:
        os.chdir(before)
        sys.path.remove(str(SCRIPTS))
        progress.set_terminal(*shown)
        if threading.current_thread() is threading.main_thread():
            for stop, handler in handlers.items():
                signal.signal(stop, handler)


def _renamed(store: Store, text: str) -> str:
    """The text with the results under the name that records give them."""
    folder = store.folder
    places = [str(folder), *([folder.relative_to(ROOT).as_posix()] if folder.is_relative_to(ROOT) else [])]
    for place in places:
        if place != store.prefix:
            text = text.replace(f"{place}/", f"{store.prefix}/")
    return text


def _compare(store: Store, name: str, there: str, again: str) -> Iterator[Fault]:
    if there != again:
        lines = zip(there.splitlines(), again.splitlines(), strict=False)
        number, (old, new) = next(
            ((number, pair) for number, pair in enumerate(lines, start=1) if pair[0] != pair[1]),
            (1, ("", "")),
        )
        says = f"{name}, line {number}, prints {_short(old, new)}; its scores give {_short(new, old)}."
        yield Fault("broken", name, says, store.remake(name))


def _short(text: str, other: str) -> str:
    """The part of a line around the first character that differs."""
    same = next((i for i, pair in enumerate(zip(text, other, strict=False)) if pair[0] != pair[1]), 0)
    return repr(text[max(0, same - 20) : same + 20])

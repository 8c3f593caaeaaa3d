"""Run the workflow for a person: one at a time, a lock that a crash left is opened, and nothing but progress is shown.

A step that was told to stop, and keeps its state, is called again (exit code `AGAIN`). A run that is told to stop itself (SIGTERM)
starts nothing more, lets its trainings write a checkpoint, ends within seconds and says `AGAIN`: the same command goes on.
"""

import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from preftune.commands.config import plan_of, read_values
from preftune.errors import PreftuneError
from preftune.provenance.digest import ROOT
from preftune.provenance.hashes import Hashes
from preftune.training.interruption import AGAIN
from preftune.workflow.locks import hold_results
from preftune.workflow.outputs import find_edited, find_stale
from preftune.workflow.plan import Plan

_QUIET = ["--quiet", "host", "progress", "reason", "rules"]
_CALLS = 10  # how often a step that says "again" is called again
_FAILED = re.compile(r"returned non-zero exit status (\d+)")
_NOISE = re.compile(
    r"Using workflow specific profile|Assuming unrestricted shared|Building DAG|Using shell|Provided cores|Rules claiming|"
    r"Conda environments: ignored|Select jobs to execute|Execute \d+ jobs|Complete log|Elapsed time|\d+ jobs? ha(s|ve) missing|"
    r"Rules with missing metadata|\s*$"
)


def run(arguments: list[str], among: Collection[str] | None = None) -> int:
    """Run Snakemake with `arguments`; returns its exit code.

    among: outputs that are made again where they are not of the present code, settings and data (None: all); Snakemake makes
    whatever it is forced to, also where no target needs it.
    """
    words = _config_words(arguments)
    plan = plan_of(words[-1] if words else "config.yaml", _config_values(arguments))
    with hold_results(plan.config.results):
        locks = ROOT / ".snakemake" / "locks"
        if locks.is_dir() and any(locks.iterdir()):
            # We hold our own lock, so the run that left these is gone.
            subprocess.run(
                ["snakemake", "--cores", "1", "--unlock", *words],
                cwd=ROOT,
                capture_output=True,
                check=False,
            )
        for _ in range(_CALLS):
            code, failed = run_quietly(_command(plan, arguments, among))
            if code == AGAIN or failed != {AGAIN}:
                break
            print("a step was told to stop and kept its state: going on", file=sys.stderr, flush=True)
        return code


def _command(plan: Plan, arguments: list[str], among: Collection[str] | None = None) -> list[str]:
    """Snakemake's command line; it compares with its own metadata, which may be lost, the records beside outputs are not."""
    forced = _values_of(arguments, "--forcerun")
    edited = [
        file
        for file in find_edited(plan, Hashes())
        if not file.startswith(tuple(f"{one}/" for one in forced))
    ]
    if edited:
        folder = (
            edited[0].rpartition("/data/")[0] + "/data/" + edited[0].rpartition("/data/")[2].partition("/")[0]
        )
        raise PreftuneError(
            f"{edited[0]}{f' and {len(edited) - 1} more files' if len(edited) > 1 else ''} of the prepared data is not what its "
            f"step wrote: it was changed by hand or damaged; make it again: make results FORCE={folder}"
        )
    if forced:  # Snakemake takes the last --forcerun alone
        place = arguments.index("--forcerun")
        arguments = arguments[:place] + arguments[place + 1 + len(forced) :]
    forced = [*(name for name in find_stale(plan) if among is None or name in among), *forced]
    return [
        "snakemake",
        "--rerun-incomplete",
        *(["--forcerun", *forced] if forced else []),
        *_share_gpu(plan, arguments),
        *_QUIET,
        *arguments,
    ]


def _share_gpu(plan: Plan, arguments: list[str]) -> list[str]:
    """How many steps have a GPU at once, where the config lets several share one and nobody says otherwise."""
    config = plan.config
    if config.steps_per_gpu == 1 or not config.training_gpus or "--resources" in arguments:
        return []
    return ["--resources", f"gpu={config.steps_per_gpu}"]


def run_quietly(command: list[str]) -> tuple[int, set[int]]:
    """Run a command, passing on its output but for Snakemake's scheduling lines; its exit code and its failed jobs'.

    The exit code is `AGAIN` where SIGTERM ended it early.
    """
    failed: set[int] = set()
    with (
        subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, errors="replace") as process,
        _stop_by_signal(process) as told,
    ):
        try:
            for line in process.stderr or ():
                failed |= {int(code) for code in _FAILED.findall(line)}
                if not _NOISE.match(line):
                    print(line, end="", file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            process.wait()  # Snakemake got the same signal and stops its jobs
            raise
        code = process.wait()
    return (AGAIN if code and told else code), failed


@contextmanager
def _stop_by_signal(process: "subprocess.Popen[str]") -> Iterator[list[int]]:
    """Inside the block SIGTERM stops the run instead of leaving it behind; yields the signals that came."""
    told: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        told.append(number)
        if len(told) == 1:
            # Not by print: the signal may have come in the middle of one.
            os.write(2, b"told to stop: what is finished is kept, the same command goes on\n")
            threading.Thread(target=_stop, args=(process,), daemon=True).start()

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield told
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(process: "subprocess.Popen[str]") -> None:
    """Snakemake starts nothing more and waits for its steps; these are told themselves, for it tells them nothing.

    The shell around a step is left alone: it would die at once, and Snakemake would not wait for the checkpoint.
    """
    process.terminate()
    told: set[int] = set()
    while process.poll() is None:
        for step in _find_steps(process.pid):
            if step.pid not in told:
                told.add(step.pid)
                with suppress(psutil.NoSuchProcess):  # it ended by itself
                    step.terminate()
        time.sleep(0.2)


def _find_steps(snakemake: int) -> list[psutil.Process]:
    """The processes below Snakemake that run a script of the workflow."""
    found = []
    with suppress(psutil.NoSuchProcess):  # Snakemake ended in between
        for process in psutil.Process(snakemake).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                words = process.cmdline()
                if (
                    words
                    and Path(words[0]).name.startswith("python")
                    and "workflow/scripts/" in " ".join(words)
                ):
                    found.append(process)
    return found


def _config_words(arguments: list[str]) -> list[str]:
    place = arguments.index("--configfile") if "--configfile" in arguments else None
    return [] if place is None else arguments[place : place + 2]


def _config_values(arguments: list[str]) -> dict[str, Any]:
    """What `--config key=value ...` sets."""
    return read_values(_values_of(arguments, "--config"))


def _values_of(arguments: list[str], option: str) -> list[str]:
    """The words that follow an option, up to the next one."""
    if option not in arguments:
        return []
    return list(
        itertools.takewhile(lambda word: not word.startswith("-"), arguments[arguments.index(option) + 1 :])
    )


def main(arguments: list[str]) -> int:
    """Entry: the words are passed to Snakemake."""
    try:
        return run(arguments)
    except PreftuneError as error:
        print(f"error: {error}", file=sys.stderr)
    except PermissionError as error:
        print(f"error: {error.filename} may not be written to: mend its permissions.", file=sys.stderr)
    return 1

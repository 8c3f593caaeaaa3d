"""Run the workflow for a person: one at a time, a lock that a crash left is opened, and nothing but progress is shown.

A step that was told to stop, and keeps its state, is called again (exit code `AGAIN`).
"""

import itertools
import re
import subprocess
import sys
from typing import Any

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


def run(arguments: list[str]) -> int:
    """Run Snakemake with `arguments`; returns its exit code."""
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
            code, failed = run_quietly(_command(plan, arguments))
            if failed != {AGAIN}:
                break
            print("a step was told to stop and kept its state: going on", file=sys.stderr, flush=True)
        return code


def _command(plan: Plan, arguments: list[str]) -> list[str]:
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
    forced = [*find_stale(plan), *forced]
    return [
        "snakemake",
        "--rerun-incomplete",
        *(["--forcerun", *forced] if forced else []),
        *_QUIET,
        *arguments,
    ]


def run_quietly(command: list[str]) -> tuple[int, set[int]]:
    """Run a command, passing on its output but for Snakemake's scheduling lines; its exit code and its failed jobs'."""
    failed: set[int] = set()
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, errors="replace") as process:
        try:
            for line in process.stderr or ():
                failed |= {int(code) for code in _FAILED.findall(line)}
                if not _NOISE.match(line):
                    print(line, end="", file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            process.wait()  # Snakemake got the same signal and stops its jobs
            raise
        return process.wait(), failed


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

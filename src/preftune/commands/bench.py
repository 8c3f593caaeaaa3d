"""`preftune bench`: our engine against TRL and lm-eval on the same work; JSON rows and the table in docs/performance.md."""

import fnmatch
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from preftune.errors import PreftuneError
from preftune.provenance.digest import ROOT

RESULTS = ROOT / "results" / "benchmarks"
PAGE = ROOT / "docs" / "performance.md"


def run_bench(model: Path, encoder: Path, threads: int, only: str) -> None:
    """Run the cases whose name matches the glob `only`; a promised ratio that is missed is said, not hidden."""
    if find_spec("trl") is None:
        raise PreftuneError("The benchmarks need TRL: pip install -r requirements-dev.txt, or make bench.")
    for folder, kind, option in ((model, "language model", "--model"), (encoder, "encoder", "--encoder")):
        if not (folder / "config.json").is_file():
            raise PreftuneError(f"{folder} holds no {kind}: make bench fetches it, or give {option} FOLDER.")
    import torch  # after the cheap checks: it takes seconds to import

    from preftune.bench.cases import CASES, Bench
    from preftune.bench.report import complete, promise, write_rows, write_table

    chosen = fnmatch.filter(CASES, only)
    if not chosen:
        raise PreftuneError(f"no benchmark matches {only}: known are {', '.join(CASES)}.")
    if len(chosen) > 1:
        # A case's speed depends on what the process did before (memory that peers and allocators keep): each has its own.
        for case in chosen:
            _run_alone(case, model, encoder, threads)
        return
    (case,) = chosen
    torch.set_num_threads(threads)
    rows = []
    for row in Bench(model, encoder, threads).rows(case):
        rows.append(complete(row, threads))
        print(promise(rows[-1]), flush=True)
        write_rows(RESULTS / f"{case}.json", rows)
    write_table(RESULTS, PAGE)
    print(f"rows: {RESULTS.relative_to(ROOT)}/{case}.json, table: {PAGE.relative_to(ROOT)}")


def _run_alone(case: str, model: Path, encoder: Path, threads: int) -> None:
    words = [
        "bench",
        "--model",
        str(model),
        "--encoder",
        str(encoder),
        "--threads",
        str(threads),
        "--only",
        case,
    ]
    done = subprocess.run([sys.executable, "-W", "ignore", "-m", "preftune", *words], check=False)
    if done.returncode:
        raise PreftuneError(f"the benchmark {case} failed (see above); the rows of those before it are kept.")

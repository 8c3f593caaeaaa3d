"""Peak memory of a DPO step (resident set; on CUDA that of the device): each side in a process of its own, as `python -m preftune.bench.memory ours|theirs`."""

import subprocess
import sys
from pathlib import Path
from statistics import median

import torch

from preftune.bench.alternate import Row
from preftune.bench.inputs import make_pairs, place, tiny_model, tiny_tokenizer
from preftune.bench.training import OurDpo, TheirDpo
from preftune.errors import PreftuneError

PAIRS = 4
STEPS = 4


def compare_memory(name: str, target: float, threads: int, repeats: int = 3) -> Row:
    """Largest resident set of a process that takes `STEPS` steps of `PAIRS` pairs, the reference cached on both sides."""
    theirs, ours = ([_run(side, threads) for _ in range(repeats)] for side in ("theirs", "ours"))
    ratios = sorted(a / b for a, b in zip(theirs, ours, strict=True))
    return Row(
        name=name,
        peer="TRL DPOTrainer",
        unit="bytes",
        ours=median(ours),
        theirs=median(theirs),
        ratio_min=ratios[0],
        ratio_median=median(ratios),
        ratio_max=ratios[-1],
        target=target,
        rounds=repeats,
    )


def _run(side: str, threads: int) -> float:
    command = [sys.executable, "-m", "preftune.bench.memory", side, str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PreftuneError(f"the memory benchmark of {side} failed: {done.stderr.strip().splitlines()[-1]}")
    return float(done.stdout.split()[-1])


def main(side: str, threads: int) -> None:
    """Take the steps of one side and print its peak resident set in bytes."""
    torch.set_num_threads(threads)
    pairs = make_pairs(8000, PAIRS * STEPS)
    reference = torch.full((len(pairs), 2), -100.0)
    model = place(tiny_model())
    if side == "ours":
        step: OurDpo | TheirDpo = OurDpo(model, tiny_tokenizer(), pairs, reference, online=False)
    else:
        table = {pair.name: row for pair, row in zip(pairs, reference, strict=True)}
        step = TheirDpo(model, tiny_tokenizer(), table)
    for start in range(0, len(pairs), PAIRS):
        step(pairs[start : start + PAIRS])
    if torch.cuda.is_available():
        print(torch.cuda.max_memory_allocated())
    else:
        # Not ru_maxrss: a child inherits the parent's, which holds the other benchmarks' models.
        status = Path("/proc/self/status").read_text()
        print(int(status.split("VmHWM:")[1].split()[0]) * 1024)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

"""Run and seed of a folder, read off its path `.../<run>/seed-<n>/`."""

import re
from collections.abc import Sequence
from pathlib import Path

from preftune.errors import PreftuneError

_SEED = re.compile(r"seed-(\d+)")


def run_and_seed(path: Path) -> tuple[str, int]:
    """Run and seed of `.../<run>/seed-<n>` or `.../<run>/seed-<n>.<ending>`; another path is an error."""
    match = _SEED.fullmatch(path.name.split(".")[0])
    if match is None or not path.parent.name:
        raise PreftuneError(
            f"{path} does not end in <run>/seed-<n>: give the folder or file of one run and one seed."
        )
    return path.parent.name, int(match.group(1))


def group_by_run(paths: Sequence[Path], order: Sequence[str] = ()) -> dict[str, list[Path]]:
    """Paths of each run in the order of their seeds; runs in `order` first, then as they were given."""
    found: dict[str, list[Path]] = {}
    for path in sorted(paths, key=lambda item: run_and_seed(item)[1]):
        found.setdefault(run_and_seed(path)[0], []).append(path)
    first_seen = list(dict.fromkeys(run_and_seed(path)[0] for path in paths))
    ranked = [run for run in order if run in found] + [run for run in first_seen if run not in order]
    return {run: found[run] for run in ranked}

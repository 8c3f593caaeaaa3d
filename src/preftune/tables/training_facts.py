"""Facts of the training records: parameters, steps and seconds of every run and seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preftune.errors import PreftuneError
from preftune.files import read_json
from preftune.tables.measures import Measure

REMEDY = "train this run again"


@dataclass(frozen=True)
class TrainingFacts:
    """The facts of each run, by seed, with the record that states them."""

    runs: Mapping[str, Mapping[int, tuple[Path, dict[str, Any]]]]

    @classmethod
    def read(cls, records: Iterable[Path]) -> TrainingFacts:
        """Facts of records `<run>/seed-<n>/run.json`; the path names run and seed."""
        runs: dict[str, dict[int, tuple[Path, dict[str, Any]]]] = {}
        for path in sorted(records):
            facts = read_json(path).get("facts")
            seed = path.parent.name.removeprefix("seed-")
            if not isinstance(facts, dict) or not seed.isdecimal():
                raise PreftuneError(f"{path} is no record <run>/seed-<n>/run.json of a training: {REMEDY}.")
            runs.setdefault(path.parent.parent.name, {})[int(seed)] = (path, facts)
        return cls(runs)

    def measure(self, run: str, key: str) -> Measure | None:
        """One fact of a run by seed, or None where the run was not trained."""
        found = self.runs.get(run, {})
        per_seed = {seed: self._number(path, facts, key) for seed, (path, facts) in found.items()}
        files = tuple(path.as_posix() for path, _ in found.values())
        aggregation = f"{key} of the training record, mean over seeds"
        return Measure(per_seed, None, 0, "", files, aggregation) if per_seed else None

    def _number(self, path: Path, facts: Mapping[str, Any], key: str) -> float:
        value = facts.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise PreftuneError(f"{path}: {key} is {value!r}, not a number: {REMEDY}.")
        return float(value)

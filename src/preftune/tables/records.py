"""Facts of the records of one stage: parameters, steps and seconds of every run and seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preftune.errors import PreftuneError
from preftune.files import read_json
from preftune.tables.measures import Measure

REMEDY = "run this step again"


@dataclass(frozen=True)
class Records:
    """The facts of each run's record, by seed, with the record that states them."""

    runs: Mapping[str, Mapping[int, tuple[Path, dict[str, Any]]]]

    @classmethod
    def read(cls, records: Iterable[Path]) -> Records:
        """Facts, `wall_seconds` and `watt_hours` of records `<run>/seed-<n>/run.json` or `<run>/seed-<n>.run.json`."""
        runs: dict[str, dict[int, tuple[Path, dict[str, Any]]]] = {}
        for path in sorted(records):
            record = read_json(path)
            place = (
                path.parent
                if path.name == "run.json"
                else path.with_name(path.name.removesuffix(".run.json"))
            )
            facts, seed = record.get("facts"), place.name.removeprefix("seed-")
            if not isinstance(facts, dict) or not seed.isdecimal():
                raise PreftuneError(f"{path} is no record <run>/seed-<n>/run.json of a step: {REMEDY}.")
            own = {"wall_seconds": record.get("time", {}), "watt_hours": record.get("energy", {})}
            facts = facts | {name: part.get(name) for name, part in own.items()}
            runs.setdefault(place.parent.name, {})[int(seed)] = (path, facts)
        return cls(runs)

    def measure(self, run: str, key: str) -> Measure | None:
        """One fact of a run by seed, or None where there is no record of the run."""
        found = self.runs.get(run, {})
        per_seed = {seed: self._number(path, facts, key) for seed, (path, facts) in found.items()}
        files = tuple(path.as_posix() for path, _ in found.values())
        aggregation = f"{key} of the record, mean over seeds"
        return Measure(per_seed, None, 0, "", files, aggregation) if per_seed else None

    def _number(self, path: Path, facts: Mapping[str, Any], key: str) -> float:
        value = facts.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise PreftuneError(f"{path}: {key} is {value!r}, not a number: {REMEDY}.")
        return float(value)

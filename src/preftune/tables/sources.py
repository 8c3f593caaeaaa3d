"""What the tables of alignment read: scores, drift, records of trainings and reference passes, gradients, overlap, claims,
choices among sampled answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from preftune.errors import PreftuneError
from preftune.files import read_json
from preftune.tables.claims import Claim
from preftune.tables.records import Records
from preftune.tables.scores import ScoreStore


@dataclass(frozen=True)
class Sources:
    """Everything that was given; what was not run is empty or None."""

    scores: ScoreStore
    drift: ScoreStore
    training: Records
    references: Records
    gradients: Path | None = None
    overlap: Path | None = None
    claims: tuple[Claim, ...] = ()
    best_of: ScoreStore = field(default_factory=lambda: ScoreStore([]))

    @classmethod
    def read(
        cls, runs: Sequence[str], scores: Iterable[Path] = (), drift: Iterable[Path] = (),
        records: Iterable[Path] = (), references: Iterable[Path] = (), gradients: Path | None = None,
        overlap: Path | None = None, claims: Iterable[Claim] = (), best_of: Iterable[Path] = (),
    ) -> Sources:  # fmt: skip
        """Sources restricted to the runs of the scale."""
        training, passes = (
            Records.read(path for path in paths if path.parent.parent.name in runs)
            for paths in (records, references)
        )
        return cls(
            ScoreStore(scores, runs),
            ScoreStore(drift, runs),
            training,
            passes,
            gradients,
            overlap,
            tuple(claims),
            ScoreStore(best_of, runs),
        )


def read_rows(path: Path, kind: type, remedy: str) -> Any:
    """The JSON list or object of a file; another shape is an error."""
    value = read_json(path)
    if not isinstance(value, kind) or not value:
        raise PreftuneError(f"{path} holds no {'rows' if kind is list else 'tasks'}: delete it and {remedy}.")
    return value

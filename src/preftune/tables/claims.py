"""Claims of the papers, each with its comparison, paired interval and verdict.

`config/claims.tsv` has one row per claim. `a` and `b` are `run:score` (dph) or `run:metric` (context_peft);
the effect is always a - b. A run may be a point `<method>@<part>` of the table of equal data. `tasks` lists suites or tasks; `cell_a` and `cell_b` name published cells
(table/row/column).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from preftune.errors import PreftuneError
from preftune.tables.cells import Cell, read_table
from preftune.tables.comparisons import STATISTICS, Comparison, NotTestable, System, compare
from preftune.tables.scores import ScoreStore
from preftune.tables.templates import Templates, find_templates

COLUMNS = (
    "id",
    "paper",
    "kind",
    "claim",
    "a",
    "b",
    "tasks",
    "direction",
    "statistic",
    "minimum_seeds",
    "cell_a",
    "cell_b",
    "testable_by",
)
DIRECTIONS = ("above", "below", "equal")
UNTESTABLE = "not testable at this scale"
# An LM is unchanged when an answer's log-probability a token moves by less than rounding error, in nats.
UNCHANGED_NATS = 1e-4


@dataclass(frozen=True)
class Claim:
    """One row of the registry."""

    id: str
    paper: str
    kind: str
    claim: str
    a: str
    b: str
    tasks: tuple[str, ...]
    direction: str
    statistic: str
    minimum_seeds: int
    cell_a: str
    cell_b: str
    testable_by: str


@dataclass(frozen=True)
class ClaimRecord:
    """One judged claim; effect and interval are a - b in `unit`, published is the papers' own a and b.

    templates: name and sha256 of the template sets that the questions of its score files were worded with.
    """

    id: str
    paper: str
    kind: str
    claim: str
    a: str
    b: str
    tasks: tuple[str, ...]
    direction: str
    statistic: str
    minimum_seeds: int
    effect: float | None
    interval: tuple[float, float] | None
    n_items: int
    n_seeds: int
    unit: str
    published_a: str
    published_b: str
    published_effect: float | None
    verdict: str
    testable_by: str
    score_files: tuple[str, ...]
    templates: Templates = ()

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values: tuples become lists."""
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()
        }


def read_claims(path: Path, cells: Sequence[Cell]) -> list[Claim]:
    """The registry of claims; every published cell that a claim names must be in the registry of cells."""
    known = {f"{cell.table}/{cell.row}/{cell.column}" for cell in cells}
    return [_parse_claim(f"{path}, line {number}", row, known) for number, row in read_table(path, COLUMNS)]


def name_runs(claims: Sequence[Claim], points: Mapping[str, str]) -> list[Claim]:
    """The claims with runs in the place of points `<method>@<part>` of equal data, each with the run that was picked there."""
    return [replace(claim, a=_name_run(claim.a, points), b=_name_run(claim.b, points)) for claim in claims]


def _name_run(system: str, points: Mapping[str, str]) -> str:
    run, colon, score = system.partition(":")
    return f"{points.get(run, run)}{colon}{score}"


def _parse_claim(where: str, row: dict[str, str], known: set[str]) -> Claim:
    if row["direction"] not in DIRECTIONS:
        raise PreftuneError(
            f"{where}: direction is {row['direction']!r}: give one of {', '.join(DIRECTIONS)}."
        )
    if row["statistic"] not in STATISTICS:
        raise PreftuneError(
            f"{where}: statistic is {row['statistic']!r}: give one of {', '.join(STATISTICS)}."
        )
    if not row["minimum_seeds"].isdigit():
        raise PreftuneError(f"{where}: minimum_seeds is {row['minimum_seeds']!r}: give a whole number.")
    for name in ("cell_a", "cell_b"):
        if row[name] and row[name] not in known:
            raise PreftuneError(
                f"{where}: {name} {row[name]!r} is not in config/cells.tsv: give table/row/column."
            )
    for name in ("a", "b"):
        if row["statistic"] != "none" and row[name].count(":") != 1:
            raise PreftuneError(f"{where}: {name} is {row[name]!r}: give run:score or run:metric.")
    fields: dict[str, Any] = dict(row)
    fields["tasks"] = tuple(task for task in row["tasks"].split(";") if task)
    fields["minimum_seeds"] = int(row["minimum_seeds"])
    return Claim(**fields)


def judge_claims(claims: Sequence[Claim], cells: Sequence[Cell], store: ScoreStore) -> list[ClaimRecord]:
    """One record a claim, in the registry's order."""
    published = {f"{cell.table}/{cell.row}/{cell.column}": cell for cell in cells}
    return [judge_claim(claim, published, store) for claim in claims]


def judge_claim(claim: Claim, published: dict[str, Cell], store: ScoreStore) -> ClaimRecord:
    """Compare the two systems of a claim and judge it."""
    comparison: Comparison | None = None
    if claim.statistic == "none":
        verdict = f"{UNTESTABLE}: settled by {claim.testable_by.split(':')[0]}, not by scores"
    else:
        try:
            comparison = compare(
                claim.statistic, System.parse(claim.a), System.parse(claim.b), claim.tasks, store
            )
            verdict = judge(claim, comparison)
        except NotTestable as reason:
            verdict = f"{UNTESTABLE}: {reason}"
    pair = [published[name].published if name else "" for name in (claim.cell_a, claim.cell_b)]
    difference = float(pair[0]) - float(pair[1]) if all(pair) else None
    shared = {key: getattr(claim, key) for key in COLUMNS if not key.startswith("cell")}
    return ClaimRecord(
        **shared,
        effect=comparison.effect if comparison else None,
        interval=comparison.interval if comparison else None,
        n_items=comparison.n_items if comparison else 0,
        n_seeds=comparison.n_seeds if comparison else 0,
        unit=comparison.unit if comparison else "",
        published_a=pair[0],
        published_b=pair[1],
        published_effect=None if difference is None else round(difference, 6),
        verdict=verdict,
        score_files=comparison.files if comparison else (),
        templates=find_templates(comparison.files, store) if comparison else (),
    )


def judge(claim: Claim, comparison: Comparison) -> str:
    """The verdict from the interval's place; too few seeds leave a claim untested whatever the effect."""
    if comparison.n_seeds < claim.minimum_seeds and claim.statistic != "counts":
        seeds = f"{comparison.n_seeds} seed{'s' * (comparison.n_seeds != 1)}"
        return f"{UNTESTABLE}: {seeds}, the claim needs {claim.minimum_seeds}"
    low, high = comparison.interval or (comparison.effect, comparison.effect)
    if claim.direction == "equal":
        return (
            "supported"
            if high <= UNCHANGED_NATS
            else "contradicted"
            if low > UNCHANGED_NATS
            else "inconclusive"
        )
    if claim.direction == "below":
        low, high = -high, -low
    return "supported" if low > 0 else "contradicted" if high < 0 else "inconclusive"

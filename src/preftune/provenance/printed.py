"""Printed numbers: a cell or a claim of a results folder by its name, with its digits and the score files behind it."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from preftune.errors import PreftuneError
from preftune.provenance.chain import find_cell
from preftune.provenance.records import PAPERS
from preftune.provenance.store import Store
from preftune.report.cells import read_audit
from preftune.tables.cells import CellRecord
from preftune.tables.claims import ClaimRecord
from preftune.tables.claims_render import format_effect
from preftune.tables.render import format_number, format_point
from preftune.workflow.config import did_you_mean

CLAIMS, EFFECT = "claims", "effect"
"""The table of claims, whose rows are claims by their id, and its only column."""


@dataclass(frozen=True)
class Printed:
    """A printed number.

    Attributes:
        file: the records of its table, as records name that file.
        digits: value, unit and interval as far as they are printed, of a claim with its verdict; empty where there is no value.
        absence: what stands in the place of digits.
        per_seed: values by seed, unrounded; none of a claim.
    """

    file: str
    row: str
    column: str
    digits: str
    absence: str
    per_seed: dict[str, float]
    score_files: tuple[str, ...]


def find_printed(store: Store, cell: str) -> Printed:
    """The number that `[<paper>/]<table>/<row>/<column>` names.

    Raises:
        PreftuneError: there is no such cell, or no number in it.
    """
    paper, table, names = _split(cell)
    if table == CLAIMS:
        file = _find_claims(store, paper)
        row, column = names[-1]
        known = {record.id for record in read_audit(store.locate(file), ClaimRecord)}
        if row not in known or column != EFFECT:
            raise PreftuneError(
                f"{file} has no {row}/{column}: give <claim>/{EFFECT}{did_you_mean(row, known)}"
            )
    else:
        file, row, column = _find_first(store, table, names)
        if paper and file != _records_of(store, paper, table):
            raise PreftuneError(f"table {table} is none of {paper}: name it without the paper.")
    printed = read_printed(store.locate(file), file, row, column)
    if not printed.digits:
        raise PreftuneError(
            f"{table}/{row}/{column} of {store.folder} holds no number ({printed.absence}): choose a cell that does."
        )
    return printed


def _split(cell: str) -> tuple[str, str, list[tuple[str, str]]]:
    """Paper (or nothing), table, and what may be row and column: both may hold slashes."""
    parts = cell.split("/")
    paper = parts.pop(0).strip() if parts[0].strip() in PAPERS else ""
    places = range(2, len(parts))
    names = [("/".join(parts[1:place]).strip(), "/".join(parts[place:]).strip()) for place in places]
    if not names or not all(part.strip() for part in parts):
        raise PreftuneError(
            f"{cell!r} names no cell: give <table>/<row>/<column>, e.g. CELL='race/Ours (SFT)/middle', or "
            f"<paper>/{CLAIMS}/<claim>/{EFFECT}."
        )
    return paper, parts[0].strip(), names


def _find_first(store: Store, table: str, names: Sequence[tuple[str, str]]) -> tuple[str, str, str]:
    """The file, row and column of the first of these pairs of names that the table has."""
    for row, column in names[:-1]:
        with contextlib.suppress(PreftuneError):
            return _found(store, table, row, column)
    return _found(store, table, *names[-1])


def _found(store: Store, table: str, row: str, column: str) -> tuple[str, str, str]:
    file, cell = find_cell(store, table, row, column)
    return file, cell["row"], cell["column"]


def _records_of(store: Store, paper: str, table: str) -> str:
    return f"{store.prefix}/{paper}/tables/{table}.audit.json"


def _find_claims(store: Store, paper: str) -> str:
    files = [_records_of(store, one, CLAIMS) for one in ([paper] if paper else PAPERS)]
    there = [file for file in files if store.locate(file).is_file()]
    if len(there) != 1:
        raise PreftuneError(
            f"{store.folder} has {len(there) or 'no'} tables of claims{f' of {paper}' * bool(paper)}: name one of a paper that "
            f"has claims, {' or '.join(f'{one}/{CLAIMS}/...' for one in PAPERS)}."
        )
    return there[0]


def read_printed(path: Path, file: str, row: str, column: str) -> Printed:
    """One number of a file of cells or claims; `file` is how records name it.

    Raises:
        PreftuneError: the number is none of this file.
    """
    if path.name == f"{CLAIMS}.audit.json":
        claims = (one for one in read_audit(path, ClaimRecord) if one.id == row)
        found = next((_of_claim(file, one) for one in claims), None)
    else:
        cells = (one for one in read_audit(path, CellRecord) if (one.row, one.column) == (row, column))
        found = next((_of_cell(file, one) for one in cells), None)
    if found is None:
        raise PreftuneError(
            f"{file}: the present code and registries make no {row}/{column}: check out the commit of the publication."
        )
    return found


def _of_cell(file: str, cell: CellRecord) -> Printed:
    digits = ""
    if cell.value is not None:
        digits = f"{format_point(cell, cell.value)} {cell.unit}"
        if cell.interval:
            low, high = (format_number(bound, cell.rounding) for bound in cell.interval)
            digits += f" [{low}, {high}]"
    absence = cell.verdict or "empty"
    return Printed(file, cell.row, cell.column, digits, absence, cell.per_seed, cell.score_files)


def _of_claim(file: str, claim: ClaimRecord) -> Printed:
    digits = "" if claim.effect is None else f"{format_effect(claim)}: {claim.verdict}"
    return Printed(file, claim.id, EFFECT, digits, claim.verdict, {}, claim.score_files)

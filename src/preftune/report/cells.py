"""Tables of the report: cell records and claim records, as short texts with the full record behind them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from preftune.errors import PreftuneError
from preftune.files import read_json
from preftune.report.chains import Chains, StepView
from preftune.tables.assemble import Setting
from preftune.tables.cells import CellRecord
from preftune.tables.claims import ClaimRecord
from preftune.tables.claims_render import format_effect
from preftune.tables.files import read_records
from preftune.tables.notes import HEADS, TITLES
from preftune.tables.render import (
    describe,
    format_absence,
    format_number,
    format_point,
    format_published,
    labels,
)
from preftune.tables.templates import list_templates

REMEDY = "make the table again"
# How the Markdown prints a cell; the report prints it in another way.
OF_MARKDOWN = ("Published numbers in parentheses", "±")


@dataclass(frozen=True)
class CellView:
    """One printed cell: value and interval, the paper's number, the record as (name, text), and the steps behind it."""

    value: str
    interval: str
    published: str
    run: bool
    record: list[tuple[str, str]]
    chain: list[StepView]


@dataclass(frozen=True)
class TableView:
    """One printed table; a cell is None where the papers leave a blank."""

    name: str
    title: str
    columns: list[str]
    rows: list[tuple[str, list[CellView | None]]]
    notes: list[str]
    missing: list[str] = field(default_factory=list)
    dirty: bool = False
    head: str = "System"


@dataclass(frozen=True)
class ClaimView:
    """One printed claim."""

    claim: str
    effect: str
    count: str
    published: str
    verdict: str
    reason: str
    record: list[tuple[str, str]]
    chain: list[StepView]


def read_audit(path: Path, kind: type[CellRecord] | type[ClaimRecord]) -> list[Any]:
    """Records of an audit file; a record that lacks a field, or has one too many, is an error."""
    rows = read_records(path)
    try:
        return [kind(**{key: _frozen(value) for key, value in row.items()}) for row in rows]
    except (TypeError, AttributeError) as error:
        raise PreftuneError(f"{path} does not hold {kind.__name__}s ({error}): {REMEDY}.") from error


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def is_dirty(audit: Path) -> bool:
    """Whether the table was made from a checkout with uncommitted changes, by its own record."""
    record = audit.with_suffix(".run.json")
    return bool(record.is_file() and read_json(record).get("code", {}).get("dirty"))


def format_interval(record: CellRecord) -> str:
    """`[low, high]`, or nothing."""
    if record.interval is None:
        return ""
    low, high = (format_number(bound, record.rounding) for bound in record.interval)
    return f"[{low}, {high}]"


def view_cell(record: CellRecord, chains: Chains) -> CellView:
    """The printed form of one cell."""
    run = record.value is not None
    value = format_absence(record) if record.value is None else format_point(record, record.value)
    chain = chains.of(record.score_files) if run else []
    return CellView(
        value, format_interval(record), format_published(record), run, describe_cell(record), chain
    )


def describe_cell(record: CellRecord) -> list[tuple[str, str]]:
    """The record behind a cell: everything that is not empty, in reading order."""
    seeds = ", ".join(
        f"{seed}: {format_number(value, record.rounding)}" for seed, value in record.per_seed.items()
    )
    verdict = record.verdict + (
        f": {record.reason}" if record.reason and record.reason not in record.verdict else ""
    )
    pairs = [
        ("run", record.run),
        ("by seed", seeds),
        ("n items", str(record.n_items or "")),
        (
            "metric",
            " ".join(part for part in (record.metric, f"({record.unit})" if record.unit else "") if part),
        ),
        ("score", record.score),
        ("split", record.split),
        ("aggregation", record.aggregation),
        ("interval", record.interval_method if record.interval else ""),
        ("paper", f"{record.published} ({record.source})" if record.published else ""),
        ("verdict", verdict),
        ("prompts", list_templates(record.templates)),
        ("score files", "\n".join(record.score_files)),
    ]
    return [(name, text) for name, text in pairs if text]


def view_table(audit: Path, setting: Setting, chains: Chains) -> TableView:
    """The printed form of one table of cells."""
    records: list[CellRecord] = read_audit(audit, CellRecord)
    setting = replace(setting, fingerprint=chains.fingerprint(chains.store.public(audit.resolve())))
    name = records[0].table
    rows, columns = labels(records)
    found = {(record.row, record.column): view_cell(record, chains) for record in records}
    body = [(row, [found.get((row, column)) for column in columns]) for row in rows]
    notes = [
        note.rstrip(".") + "."
        for note in describe(name, records, setting)
        if not note.startswith(OF_MARKDOWN)
    ]
    return TableView(
        name,
        TITLES.get(name, name),
        columns,
        body,
        notes,
        list_missing(records),
        is_dirty(audit),
        HEADS.get(name, "System"),
    )


def list_missing(records: Sequence[CellRecord]) -> list[str]:
    """Rows with cells that were not run: `LoRA-64: 9 of 9 cells`."""
    ours = [record for record in records if record.system == "ours"]
    total = Counter(record.row for record in ours)
    missing = Counter(record.row for record in ours if record.value is None)
    return [f"{row}: {count} of {total[row]} cells" for row, count in missing.items()]


def group_thousands(text: str) -> str:
    """A whole number with its thousands separated; any other text as it is."""
    return f"{int(text):,}" if text.isdigit() else text


def count_seeds(count: int) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{count} seed{'s' * (count != 1)}"


def view_claim(record: ClaimRecord, chains: Chains) -> ClaimView:
    """The printed form of one claim."""
    verdict, _, reason = record.verdict.partition(": ")
    items = f"{record.n_items} items" if record.n_items else "exact count"
    count = f"{items}, {count_seeds(record.n_seeds)}" if record.effect is not None else "–"
    pair = [group_thousands(text) for text in (record.published_a, record.published_b)]
    published = " against ".join(pair) if record.published_a else "–"
    pairs = [
        ("compared", f"{record.a} − {record.b}" if record.a else ""),
        ("tasks", ", ".join(record.tasks)),
        ("expected", f"first {record.direction} second" if record.a else ""),
        ("statistic", record.statistic),
        ("needs", count_seeds(record.minimum_seeds)),
        ("decided by", record.testable_by),
        ("prompts", list_templates(record.templates)),
        ("score files", "\n".join(record.score_files)),
    ]
    shown = [(name, text) for name, text in pairs if text]
    chain = chains.of(record.score_files)
    return ClaimView(record.claim, format_effect(record), count, published, verdict, reason, shown, chain)

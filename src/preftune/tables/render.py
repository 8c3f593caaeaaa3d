"""Tables as csv (one row a cell), Markdown and LaTeX (rows are systems, columns tasks), from cell records."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence

from preftune.stats.intervals import SEEDS_FOR_T
from preftune.tables.assemble import Setting
from preftune.tables.cells import EXACT, NOT_RUN, WORDS, CellRecord
from preftune.tables.equal_data import describe_crossings
from preftune.tables.latex import escape_latex
from preftune.tables.notes import HEADS, NOTES, TITLES
from preftune.tables.templates import describe_templates

CSV_FIELDS = (
    "table",
    "row",
    "column",
    "value",
    "low",
    "high",
    "interval_method",
    "n_seeds",
    "n_items",
    "unit",
    "metric",
    "score",
    "split",
    "published",
    "source",
    "system",
    "run",
    "verdict",
    "reason",
    "scale",
    "data",
)


def format_number(value: float, decimals: int) -> str:
    """Fixed decimals, thousands separated for counts, no negative zero."""
    text = f"{value:,.{decimals}f}" if decimals == 0 else f"{value:.{decimals}f}"
    return text.lstrip("-") if float(text.replace(",", "")) == 0 else text


def format_published(record: CellRecord) -> str:
    """The published number with the digits of the paper."""
    return (
        f"{int(record.published):,}" if record.unit == "parameters" and record.published else record.published
    )


def format_point(record: CellRecord, value: float) -> str:
    """A value with the record's decimals; a p-value that they would show as 0 is below their last one."""
    if record.unit == "p" and round(value, record.rounding) == 0:
        return f"< {10**-record.rounding:.{record.rounding}f}"
    return format_number(value, record.rounding)


def format_value(record: CellRecord) -> str:
    """Value ± half the interval's width, what stands in its place, or nothing for a cited system."""
    if record.value is None:
        return format_absence(record)
    text = format_point(record, record.value)
    if record.interval is None:
        return text
    half = (record.interval[1] - record.interval[0]) / 2
    return f"{text} ± {format_number(half, record.rounding)}"


def format_absence(record: CellRecord) -> str:
    """`not run at this scale`, a cell's own words, or nothing for a cited system."""
    own = record.verdict if record.system == WORDS else ""
    return NOT_RUN if record.system == "ours" else own


def labels(records: Iterable[CellRecord]) -> tuple[list[str], list[str]]:
    """Row and column labels in the order of their first appearance."""
    records = list(records)
    return list(dict.fromkeys(r.row for r in records)), list(dict.fromkeys(r.column for r in records))


def span(values: Iterable[int]) -> str:
    """`12`, or `10 to 12`."""
    found = sorted(set(values))
    return str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"


def describe(table: str, records: Sequence[CellRecord], setting: Setting) -> list[str]:
    """The sentences that belong to a table: data, scale, how to read a cell, n, verdicts, notes."""
    run = [record for record in records if record.n_seeds and record.n_items and record.unit not in EXACT]
    lines = [f"data: {setting.data} · scale: {setting.scale}"]
    if setting.incomparable and table != "parameters":
        lines[0] += f" · not comparable with the paper ({setting.incomparable})"
    if any(record.published for record in records):
        lines.append("Published numbers in parentheses.")
    if setting.tolerance is not None:
        lines.append(f"Reproduced: no further than {setting.tolerance:g} from the published number.")
    lines += describe_intervals(run)
    if run:
        items, seeds = (span(getattr(record, name) for record in run) for name in ("n_items", "n_seeds"))
        lines.append(f"n of a cell: {items} items; seeds: {seeds}.")
    seen = {int(record.value) for record in records if record.unit == "pairs" and record.value is not None}
    if len(seen) > 1:
        lines.append(
            f"The systems saw different numbers of pairs, {span(seen)}: this compares them at unequal amounts of data."
        )
    verdicts = Counter(record.verdict for record in records)
    lines.append(
        "Cells: " + "; ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items())) + "."
    )
    scored = {(record.split, record.table) for record in run}
    if table == "adaptors" and scored and scored != {("validation", table)}:
        lines.append(f"Scored on the {' and '.join(sorted({split for split, _ in scored}))} split.")
    if any("undefined" in record.aggregation for record in run):
        lines.append("A correlation of constant predictions is undefined and counted as 0.")
    lines += describe_templates(records)
    lines += [NOTES[table]] if table in NOTES else []
    lines += describe_crossings(records) if table == "equal_data" else []
    lines += describe_sources(records)
    return [*lines, f"Fingerprint: {setting.fingerprint}."] if setting.fingerprint else lines


def describe_intervals(records: Iterable[CellRecord]) -> list[str]:
    """What the intervals of a table are over: one line, or none where there are no intervals."""
    shown = [record for record in records if record.interval]
    drawn = [record for record in shown if record.interval_method.startswith("bootstrap")]
    kept = [record for record in drawn if record.n_seeds >= SEEDS_FOR_T]
    texts = []
    if len(drawn) > len(kept):
        several = any(record.n_seeds > 1 for record in drawn)
        texts.append("over items" + " and, where there are several, seeds" * several)
    if len(shown) > len(drawn):
        texts.append("over seeds where there are three or more")
    parts = [", or ".join(texts)] if texts else []
    if kept:
        columns = ", ".join(dict.fromkeys(record.column for record in kept))
        parts.append(f"of {columns} over items and seeds, however many there are")
    return [f"± is half the 95 % interval, {'; '.join(parts)}."] if parts else []


def describe_sources(records: Iterable[CellRecord]) -> list[str]:
    """Where the published numbers of each row are from: one line, or none where there are no such numbers."""
    rows: dict[str, list[str]] = {}
    for record in records:
        if record.published:
            rows.setdefault(record.source, []).append(record.row)
    listed = [f"{', '.join(dict.fromkeys(own))}: {source}" for source, own in rows.items()]
    return [f"Sources: {' · '.join(listed)}."] if listed else []


def render_csv(records: Sequence[CellRecord], setting: Setting) -> str:
    """One row a cell, unrounded, so that the table can be computed with."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, CSV_FIELDS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for record in records:
        low, high = record.interval or (None, None)
        extra = {"low": low, "high": high, "scale": setting.scale, "data": setting.data}
        writer.writerow({**record.as_json(), **extra})
    return stream.getvalue()


def grid(records: Sequence[CellRecord]) -> tuple[list[str], list[tuple[str, list[tuple[str, str]]]]]:
    """Columns, and for each row its (ours, published) texts; a cell that the papers leave blank is empty."""
    rows, columns = labels(records)
    found = {(record.row, record.column): record for record in records}
    lines = []
    for row in rows:
        cells = [found.get((row, column)) for column in columns]
        lines.append(
            (
                row,
                [
                    ("", "") if cell is None else (format_value(cell), format_published(cell))
                    for cell in cells
                ],
            )
        )
    return columns, lines


def render_markdown(table: str, records: Sequence[CellRecord], setting: Setting) -> str:
    """A Markdown table with the published number in parentheses, and its description."""
    columns, rows = grid(records)
    if all(not pair[0] or pair[0] == NOT_RUN for _, row in rows for pair in row):
        head = "Nothing of this table was run at this scale."
    else:
        head = ""
    lines = [f"**{TITLES[table]}**", "", *([head, ""] if head else [])]
    lines += [
        f"| {HEADS.get(table, 'System')} | " + " | ".join(columns) + " |",
        "| --- |" + " ---: |" * len(columns),
    ]
    lines += [
        f"| {row} | " + " | ".join(_markdown_cell(*pair) for pair in cells) + " |" for row, cells in rows
    ]
    return "\n".join([*lines, "", "  \n".join(describe(table, records, setting)), ""])


def _markdown_cell(ours: str, published: str) -> str:
    parts = [ours, f"({published})" if published else ""]
    return "<br>".join(part for part in parts if part) or "–"


def render_latex(table: str, records: Sequence[CellRecord], setting: Setting) -> str:
    """A booktabs table with a caption."""
    columns, rows = grid(records)
    lines = [
        r"\begin{table}",
        r"\centering\small",
        f"\\begin{{tabular}}{{l{'r' * len(columns)}}}",
        r"\toprule",
        " & ".join(escape_latex(text) for text in (HEADS.get(table, "System"), *columns)) + r" \\",
        r"\midrule",
    ]
    for row, cells in rows:
        texts = [_markdown_cell(*pair).replace("<br>", " ") for pair in cells]
        lines.append(" & ".join(escape_latex(text) for text in (row, *texts)) + r" \\")
    caption = (
        ". ".join([TITLES[table], *(line.rstrip(".") for line in describe(table, records, setting))]) + "."
    )
    lines += [
        r"\bottomrule",
        r"\end{tabular}",
        f"\\caption{{{escape_latex(caption)}}}",
        f"\\label{{tab:{table}}}",
    ]
    return "\n".join([*lines, r"\end{table}", ""])

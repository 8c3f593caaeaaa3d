"""The table of claims as csv, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from preftune.tables.assemble import Setting
from preftune.tables.claims import ClaimRecord
from preftune.tables.latex import escape_latex
from preftune.tables.render import format_number
from preftune.tables.templates import compare_templates

FIELDS = (
    "id",
    "paper",
    "kind",
    "claim",
    "a",
    "b",
    "tasks",
    "direction",
    "statistic",
    "effect",
    "low",
    "high",
    "unit",
    "n_items",
    "n_seeds",
    "minimum_seeds",
    "published_a",
    "published_b",
    "published_effect",
    "verdict",
    "testable_by",
    "scale",
    "data",
)
HEADER = ("Claim", "Effect a - b [95 % interval]", "n items, seeds", "Paper a, b", "Verdict")
TITLES = {"dph": "Claims of the DPH paper", "context_peft": "Claims of the Context-PEFT paper"}


def render_claims_csv(records: Sequence[ClaimRecord], setting: Setting) -> str:
    """One row a claim, unrounded."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, FIELDS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for record in records:
        low, high = record.interval or (None, None)
        extra = {
            "low": low,
            "high": high,
            "tasks": ";".join(record.tasks),
            "scale": setting.scale,
            "data": setting.data,
        }
        writer.writerow({**record.as_json(), **extra})
    return stream.getvalue()


def format_effect(record: ClaimRecord) -> str:
    """`+3.1 points [0.2, 6.0]`, or a dash where nothing was compared."""
    if record.effect is None:
        return "–"
    decimals = {"points": 1, "CIDEr x 100": 1, "parameters": 0}.get(
        record.unit, 3 if "nats" in record.unit else 2
    )
    text = f"{'+' * (record.effect > 0)}{format_number(record.effect, decimals)} {record.unit}"
    if record.interval is None:
        return text
    low, high = (format_number(bound, decimals) for bound in record.interval)
    return f"{text} [{low}, {high}]"


def texts(record: ClaimRecord, separator: str) -> tuple[str, ...]:
    """One row of the printed table."""
    pair = f" ({record.a} vs {record.b})" if record.a else ""
    count = f"{record.n_items or 'exact'}, {record.n_seeds}" if record.effect is not None else "–"
    printed = [text for text in (record.published_a, record.published_b) if text]
    paper = ", ".join(f"{int(text):,}" if text.isdigit() else text for text in printed) or "–"
    return (
        record.claim + separator * bool(pair) + pair.strip(),
        format_effect(record),
        count,
        paper,
        record.verdict,
    )


def describe_claims(records: Sequence[ClaimRecord], setting: Setting) -> str:
    """Data, scale, how to read the table, and the prompts of what was compared."""
    note = f"data: {setting.data} · scale: {setting.scale}"
    if setting.incomparable:
        note += f" · the effects are not comparable with the paper ({setting.incomparable})"
    note += ". Intervals are paired over items (and seeds); a lower perplexity is better."
    compared = [record for record in records if record.effect is not None]
    prompts = compare_templates([(f"{one.a} vs {one.b}", one.templates) for one in compared])
    mark = [f"Fingerprint: {setting.fingerprint}."] if setting.fingerprint else []
    return " ".join([note, *prompts, *mark])


def render_claims_markdown(paper: str, records: Sequence[ClaimRecord], setting: Setting) -> str:
    """A Markdown table of claims with effect, interval, n, the paper's numbers and verdict."""
    lines = [f"**{TITLES[paper]}**", "", "| " + " | ".join(HEADER) + " |", "| --- | --- | --- | --- | --- |"]
    for record in records:
        claim, *rest, verdict = texts(record, "<br>")
        lines.append(
            "| " + " | ".join([claim, *rest, f"**{verdict}**" if ":" not in verdict else verdict]) + " |"
        )
    return "\n".join([*lines, "", describe_claims(records, setting), ""])


def render_claims_latex(paper: str, records: Sequence[ClaimRecord], setting: Setting) -> str:
    """A booktabs table of claims."""
    lines = [
        r"\begin{table}",
        r"\centering\footnotesize",
        r"\begin{tabular}{p{0.32\linewidth}p{0.2\linewidth}p{0.1\linewidth}p{0.1\linewidth}p{0.2\linewidth}}",
        r"\toprule",
        " & ".join(escape_latex(text) for text in HEADER) + r" \\",
        r"\midrule",
    ]
    lines += [" & ".join(escape_latex(text) for text in texts(record, " ")) + r" \\" for record in records]
    caption = escape_latex(f"{TITLES[paper]}. {describe_claims(records, setting)}")
    return "\n".join(
        [*lines, r"\bottomrule", r"\end{tabular}", f"\\caption{{{caption}}}", r"\end{table}", ""]
    )

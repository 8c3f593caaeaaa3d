"""Rows of the benchmarks as JSON, and as the table in docs/performance.md."""

import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from preftune.bench.alternate import Row
from preftune.files import atomic_write_text, read_json, write_json
from preftune.provenance import record
from preftune.tables.pages import fill_markers

PACKAGES = ("torch", "transformers", "trl", "lm-eval")


def complete(row: Row, threads: int) -> Row:
    """Add machine, versions and commit."""
    row.machine = record.describe_hardware("auto") | {"threads": threads}
    row.versions = {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
    row.commit = record.describe_git()["commit"]
    return row


def promise(row: Row) -> str:
    """One line: the ratio, and whether it is what the project promises."""
    line = f"{row.name}: {row.ratio_median:.2f} ({row.ratio_min:.2f} to {row.ratio_max:.2f})"
    if row.target is None:
        return line
    return f"{line}, promised {row.target:g}{'' if row.kept else ' MISSED'}"


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """A list of rows."""
    write_json(path, [asdict(row) for row in rows])


def write_table(folder: Path, page: Path) -> None:
    """Renew the generated block of a page from every JSON file of a folder."""
    rows = [row for path in sorted(folder.glob("*.json")) for row in read_json(path)]
    atomic_write_text(page, fill_markers(page.read_text(), {"bench": render(rows)}, page.name))


def render(rows: Sequence[dict[str, Any]]) -> str:
    """A Markdown table, and the machines below it."""
    head = ["work", "peer", "ours", "theirs", "ratio (min to max)", "CPU-time ratio", "promised"]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * 2}{' ---: |' * 5}"]
    lines += [f"| {' | '.join(_cells(row))} |" for row in rows]
    machines = {_machine(row) for row in rows}
    return "\n".join([*lines, "", *(f"Measured on {machine}." for machine in sorted(machines))])


def _cells(row: dict[str, Any]) -> list[str]:
    ratio = f"**{row['ratio_median']:.2f}** ({row['ratio_min']:.2f} to {row['ratio_max']:.2f})"
    cpu = "–" if row["cpu_ratio_median"] is None else f"{row['cpu_ratio_median']:.2f}"
    target = "–" if row["target"] is None else f"≥ {row['target']:g}"
    ours, theirs = (_amount(row[side], row["unit"]) for side in ("ours", "theirs"))
    used = row["model_flops_utilisation"]
    return [
        row["name"],
        row["peer"],
        ours + (f", MFU {used:.0%}" if used else ""),
        theirs,
        ratio,
        cpu,
        target,
    ]


def _amount(value: float, unit: str) -> str:
    if unit == "bytes":
        return f"{value / 1e9:.2f} GB"
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.2f} {unit}"


def _machine(row: dict[str, Any]) -> str:
    machine, versions = row["machine"], row["versions"]
    device = machine["gpu"]["name"] if machine["gpu"] else f"{machine['cpu']}, {machine['threads']} threads"
    tools = ", ".join(f"{name} {number}" for name, number in versions.items())
    return f"{device}; {tools}; commit {(row['commit'] or 'unknown')[:10]}"

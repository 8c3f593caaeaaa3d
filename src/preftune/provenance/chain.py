"""The chain behind one cell: from its printed digits over scores, checkpoints and data to what was fetched."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from preftune.errors import PreftuneError
from preftune.progress import format_seconds
from preftune.provenance.digest import ROOT
from preftune.provenance.records import PAPERS, Record
from preftune.provenance.store import Store
from preftune.settings.base import flatten
from preftune.tables.files import read_records
from preftune.workflow.config import did_you_mean
from preftune.workflow.registry import read_yaml


@dataclass(frozen=True)
class Link:
    """One step of a chain, as (name, text) pairs in reading order, and the steps whose outputs it read."""

    output: str
    rule: str
    digest: str
    facts: list[tuple[str, str]]
    parents: list[str]


def find_cell(store: Store, table: str, row: str, column: str) -> tuple[str, dict[str, Any]]:
    """The file of cell records that has this cell, and its record.

    Raises:
        PreftuneError: no such table, row or column, with the nearest names.
    """
    paths = [
        path for paper in PAPERS for path in sorted((store.folder / paper / "tables").glob("*.audit.json"))
    ]
    names = {
        path.name.removesuffix(".audit.json"): path for path in paths if not path.name.startswith("claims.")
    }
    if table not in names:
        raise PreftuneError(f"{store.folder} has no table {table}{did_you_mean(table, sorted(names))}")
    cells = read_records(names[table])
    rows = list(dict.fromkeys(cell["row"] for cell in cells))
    if _match(row, rows) is None:
        raise PreftuneError(f"table {table} has no row {row}{did_you_mean(row, rows)}")
    own = {cell["column"]: cell for cell in cells if cell["row"] == _match(row, rows)}
    if _match(column, list(own)) is None:
        raise PreftuneError(
            f"row {row} of table {table} has no column {column}{did_you_mean(column, list(own))}"
        )
    return store.public(names[table]), own[str(_match(column, list(own)))]


def _match(name: str, names: Sequence[str]) -> str | None:
    """The name itself, else the only one that differs from it in upper and lower case alone."""
    if name in names:
        return name
    alike = [one for one in names if one.lower() == name.lower()]
    return alike[0] if len(alike) == 1 else None


def chain_of(store: Store, files: Sequence[str]) -> list[Link]:
    """Every step that these score files rest on, the latest first; of an evaluation's data sets only the files' own tasks'."""
    order: list[Link] = []
    seen: set[str] = set()
    datasets = {dataset_of(Path(file).stem) for file in files} - {""}

    def visit(name: str) -> None:
        record = store.maker(name)
        if record is None or record.name in seen:
            return
        seen.add(record.name)
        parents = _parents(store, record, datasets)
        for parent in parents:
            visit(parent)
        known = [parent for parent in parents if store.maker(parent)]
        order.append(
            Link(record.made, record.rule, record.facts["code"]["digest"], describe_step(record), known)
        )

    for file in files:
        visit(file)
    return order[::-1]


def _parents(store: Store, record: Record, datasets: set[str]) -> list[str]:
    """What a step read; where it scored more tasks than those of the data sets, without the others' data."""
    scores = record.rule.startswith("evaluate_") and datasets
    parents: list[str] = []
    for group, items in record.facts["inputs"].items():
        for item in items:
            if not (scores and group == "datasets" and Path(item["path"]).name not in datasets):
                parents += store.parts(item["path"]) or [item["path"]]
    return parents


def dataset_of(task: str) -> str:
    """The data set of a task, or nothing for what is no task."""
    return str(_tasks().get(task, {}).get("dataset", ""))


@cache
def _tasks() -> dict[str, Any]:
    return dict(read_yaml(ROOT / "config/tasks.yaml"))


def describe_step(record: Record) -> list[tuple[str, str]]:
    """What a reader asks of one step: when, on what, with which code, settings, seed and inputs; what it cost."""
    facts = record.facts
    code, environment, time, hardware = (facts[key] for key in ("code", "environment", "time", "hardware"))
    pairs = [
        ("content", "\n".join(f"{output['path']}: sha256 {output['sha256']}" for output in record.outputs())),
        ("source", _source(record)),
        ("settings", _settings(facts["settings"])),
        ("seed", str(facts["seed"])),
        ("code", f"commit {code['commit']}{' with uncommitted changes' if code['dirty'] else ''}, {code['digest']}, "
                 f"{len(code['files'])} files"),
        ("environment", f"requirements.txt {str(environment['lock_sha256'])[:12]}, Python {environment['python']}, "
                        f"{_packages(environment['packages'])}"),
        ("hardware", f"{(hardware['gpu'] or {}).get('name') or hardware['cpu']}, {facts['threads']} threads"),
        ("time", f"{time['start']}, {format_seconds(time['wall_seconds'])}"),
        ("energy", _energy(facts["energy"])),
        ("attempts", f"{len(facts['failed_attempts'])} failed before" if facts["failed_attempts"] else ""),
        ("warnings", "\n".join(facts["warnings"])),
        ("record", f"{record.name}"),
    ]  # fmt: skip
    return [(name, text) for name, text in pairs if text]


def _packages(packages: dict[str, str]) -> str:
    return ", ".join(
        f"{name} {packages[name]}" for name in ("torch", "transformers", "peft") if name in packages
    )


def _energy(energy: dict[str, Any]) -> str:
    known = energy["watt_hours"]
    return f"{known} Wh ({energy['method']})" if known is not None else f"not measured ({energy['method']})"


def _settings(settings: dict[str, Any] | None) -> str:
    return ", ".join(f"{key} {value}" for key, value in flatten(settings or {}).items() if value is not None)


def _source(record: Record) -> str:
    """Where a fetched model or data set comes from, and its licence."""
    settings = record.facts["settings"] or {}
    if not record.rule.startswith("fetch_"):
        return ""
    name = str(settings.get("name", ""))
    registry = read_yaml(ROOT / f"config/{'models' if record.rule == 'fetch_model' else 'datasets'}.yaml")
    licence = registry.get(name, {}).get("licence", "unknown")
    keys = ("repo", "revision", "package", "version", "url", "path")
    origin = ", ".join(f"{key} {settings[key]}" for key in keys if settings.get(key))
    return f"{settings.get('kind', '')}: {origin}; licence {licence}"

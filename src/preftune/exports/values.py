"""What exports share: settings as flat keys, steps in order, hashes and sizes of single files, and a check for what is private."""

import json
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from preftune.errors import PreftuneError
from preftune.provenance.privacy import find_private
from preftune.provenance.record import hash_settings, public_argument
from preftune.provenance.records import Record, Store

EXPORTS = ("export_crate", "export_cards")
"""Steps that write views: a view does not show the steps that wrote views before."""
MEDIA_TYPES = {
    ".json": "application/json", ".jsonl": "application/jsonl", ".csv": "text/csv", ".tsv": "text/tab-separated-values",
    ".md": "text/markdown", ".tex": "application/x-tex", ".html": "text/html", ".txt": "text/plain",
    ".png": "image/png", ".pdf": "application/pdf", ".gz": "application/gzip", ".zip": "application/zip",
    ".parquet": "application/vnd.apache.parquet", ".arrow": "application/vnd.apache.arrow.stream",
    ".yaml": "application/yaml", ".cff": "application/yaml", ".py": "text/x-python", ".smk": "text/x-python",
}  # fmt: skip


def media_type(name: str) -> str:
    """The media type of a file by its name."""
    return MEDIA_TYPES.get(PurePosixPath(name).suffix, "application/octet-stream")


def flatten(settings: dict[str, Any] | None, above: str = "") -> Iterator[tuple[str, Any]]:
    """Settings as pairs of a dotted key and a number, text or truth value; lists and null as JSON text."""
    for key, value in sorted((settings or {}).items()):
        name = f"{above}{key}"
        if isinstance(value, dict) and value:
            yield from flatten(value, f"{name}.")
        elif isinstance(value, str | bool | int | float):
            yield name, _public(value)
        else:
            yield name, json.dumps(_public(value), sort_keys=True)


def _public(value: Any) -> Any:
    """A value without absolute paths."""
    if isinstance(value, list):
        return [_public(item) for item in value]
    if isinstance(value, dict):
        return {key: _public(item) for key, item in value.items()}
    return public_argument(value) if isinstance(value, str) else value


def list_steps(store: Store) -> list[Record]:
    """Each run of a step once, whatever the number of its record files, the earliest in the chain first.

    Raises:
        PreftuneError: the folder has no readable record.
    """
    steps: dict[str, Record] = {}
    for record in store.upstream(sorted(store.makers)):
        if record.rule not in EXPORTS:
            steps.setdefault(hash_settings(record.facts), record)
    if not steps:
        raise PreftuneError(f"{store.folder} has no record of a step: run `make results` first.")
    return list(steps.values())


def first_output(record: Record) -> str:
    """The path that names a step: that of its first output."""
    return min(str(output["path"]) for output in record.outputs())


def file_hash(store: Store, name: str) -> str:
    """SHA-256 of a file by the record of the step that made it, alone or in a folder; empty where none states it."""
    record = store.maker(name)
    for output in record.outputs() if record else ():
        if output["path"] == name:
            return "" if output["files"] else str(output["sha256"])
        if name.startswith(f"{output['path']}/"):
            return str(output["files"].get(name.removeprefix(f"{output['path']}/"), ""))
    return ""


def file_size(store: Store, name: str) -> int | None:
    """Bytes of a file, by its record or, in a folder, as it lies here; null where it is not here."""
    record = store.maker(name)
    for output in record.outputs() if record else ():
        if output["path"] == name and not output["files"]:
            return int(output["bytes"])
    path = store.locate(name)
    return path.stat().st_size if path.is_file() else None


def dump(content: dict[str, Any]) -> str:
    """JSON as `preftune.files.write_json` writes it: equal contents give equal bytes."""
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def refuse_private(text: str, what: str) -> str:
    """The text itself.

    Raises:
        PreftuneError: it tells who made it, or where.
    """
    if found := find_private(text):
        raise PreftuneError(f"{what} would hold {found}: make the step that recorded it again without it.")
    return text

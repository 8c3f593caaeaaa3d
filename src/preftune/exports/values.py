"""What exports share: settings as flat keys, steps in order, hashes and sizes of single files, and a check for what is private."""

import json
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from preftune.errors import PreftuneError
from preftune.provenance.privacy import find_private
from preftune.provenance.record import public_argument
from preftune.provenance.store import Store
from preftune.settings.base import flatten

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


def setting_pairs(settings: dict[str, Any] | None) -> Iterator[tuple[str, Any]]:
    """Settings as pairs of a dotted key and a number, text or truth value; lists and null as JSON text."""
    for name, value in sorted(flatten(settings or {}).items()):
        plain = isinstance(value, str | bool | int | float)
        yield name, _public(value) if plain else json.dumps(_public(value), sort_keys=True)


def _public(value: Any) -> Any:
    """A value without absolute paths."""
    if isinstance(value, list):
        return [_public(item) for item in value]
    if isinstance(value, dict):
        return {key: _public(item) for key, item in value.items()}
    return public_argument(value) if isinstance(value, str) else value


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

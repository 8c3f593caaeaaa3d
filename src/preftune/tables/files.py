"""The file of a table's records, `<table>.audit.json`: versioned, with the fingerprint that the table prints."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from preftune.errors import PreftuneError
from preftune.files import read_json, write_json

SCHEMAS = {"cell": "preftune/cells/2", "claim": "preftune/claims/2"}


def write_records(path: Path, kind: str, fingerprint: str, records: Iterable[dict[str, Any]]) -> None:
    """Write the records of a table of `cell`s or `claim`s (JSON Schema: config/schemas/<kind>.schema.json)."""
    write_json(path, {"schema": SCHEMAS[kind], "fingerprint": fingerprint, "records": list(records)})


def read_records(path: Path) -> list[dict[str, Any]]:
    """Records of a table, of this version or the one before, which was a plain list.

    Raises:
        PreftuneError: there are none, or they are of another version.
    """
    content = read_json(path)
    if isinstance(content, dict) and content.get("schema") not in SCHEMAS.values():
        raise PreftuneError(
            f"{path} is of version {content.get('schema')}, not {' or '.join(SCHEMAS.values())}: update this checkout, or make "
            "the table again."
        )
    records = content.get("records") if isinstance(content, dict) else content
    if not isinstance(records, list) or not records or not all(isinstance(one, dict) for one in records):
        raise PreftuneError(f"{path} holds no records: make the table again.")
    return records

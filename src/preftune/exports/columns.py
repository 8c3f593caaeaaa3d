"""The columns of prepared tables, read from the heads of their files, as Croissant's record sets."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from preftune.errors import PreftuneError
from preftune.provenance.store import Store

TABLES = (".arrow", ".parquet")


def describe_columns(store: Store, names: list[str]) -> list[dict[str, Any]]:
    """A record set for each table of a data set that lies here; a table of several files bears them as `shards`.

    Raises:
        PreftuneError: a file is no readable table.
    """
    tables: dict[str, list[str]] = {}
    for name in names:
        if name.endswith(TABLES) and store.locate(name).is_file():
            tables.setdefault(_table(name), []).append(name)
    found = []
    for table, files in sorted(tables.items()):
        source = {"fileSet": f"{table}-files"} if len(files) > 1 else {"fileObject": files[0]}
        schema = _schema(store.locate(files[0]))
        record: dict[str, Any] = {
            "@type": "cr:RecordSet",
            "@id": table,
            "name": table,
            "field": [_field(table, field, source) for field in schema],
        }
        found.append({**record, "shards": files} if len(files) > 1 else record)
    return found


def _table(name: str) -> str:
    """The table that a file belongs to: its folder where tables are cut into shards, else itself."""
    path = Path(name)
    return path.parent.name if path.suffix == ".arrow" else path.stem


def _schema(path: Path) -> pa.Schema:
    try:
        if path.suffix == ".parquet":
            return pq.read_schema(path)
        with pa.OSFile(str(path)) as stream:
            return pa.ipc.open_stream(stream).schema
    except (pa.ArrowInvalid, OSError) as error:
        raise PreftuneError(f"{path} is no readable table ({error}): make it again.") from error


def _field(above: str, field: pa.Field, source: dict[str, str]) -> dict[str, Any]:
    """One column: its type, and how deep its lists are."""
    kind, depth = field.type, 0
    while pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        kind, depth = kind.value_type, depth + 1
    (where, target), name = next(iter(source.items())), f"{above}/{field.name}"
    described: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": name,
        "name": name,
        "source": {where: {"@id": target}, "extract": {"column": field.name}},
    }
    if depth:
        described |= {"isArray": True, "arrayShape": ",".join(["-1"] * depth)}
    if pa.types.is_struct(kind):
        return {**described, "subField": [_field(name, part, source) for part in kind]}
    return {**described, "dataType": _type(kind)}


def _type(kind: pa.DataType) -> str:
    tests = {
        "sc:Boolean": pa.types.is_boolean,
        "sc:Integer": pa.types.is_integer,
        "sc:Float": pa.types.is_floating,
        "sc:DateTime": pa.types.is_timestamp,
        "sc:Date": pa.types.is_date,
    }
    return next((name for name, test in tests.items() if test(kind)), "sc:Text")

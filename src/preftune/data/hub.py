"""From a snapshot of a hub data set to the raw layout that every source shares."""

import gzip
import json
import shutil
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from preftune.data.row_files import read_lines
from preftune.errors import PreftuneError
from preftune.files import explain_full_disk, read_json
from preftune.settings.sources import DatasetSource

JSON_LINES = (".jsonl", ".jsonl.gz", ".json", ".json.gz")
# What old repositories hold beside their rows.
DESCRIPTIONS = ("dataset_infos.json", "dataset_info.json")


def arrange_snapshot(source: DatasetSource, snapshot: Path, output: Path) -> None:
    """Join the shards of each split of the snapshot into the raw layout's file: `<path>/<split>.parquet`, or where they are
    JSON Lines `<path>/<split>.jsonl.gz`. A source without splits is a folder of shards, which stay as they are.
    """
    if not source.splits:
        shutil.copytree(snapshot, output / source.files["train"])
    for split, hub_split in source.splits.items():
        if split not in source.files:
            continue
        shards = find_shards(snapshot, source.configuration, hub_split)
        if not shards:
            raise PreftuneError(
                f"{source.repo}: the snapshot holds no parquet file of split {hub_split}, nor one of JSON Lines: its layout "
                "has changed, pin the revision that the registry was written for."
            )
        target = output / source.files[split]
        target.parent.mkdir(parents=True, exist_ok=True)
        if shards[0].suffix == ".parquet":
            stem = source.files[split].removesuffix(".gz").removesuffix(".jsonl")
            join_tables(shards, output / f"{stem}.parquet")
        else:
            join_lines(shards, target)


def join_tables(shards: Sequence[Path], target: Path) -> None:
    """Write parquet files of one schema as one, a batch of rows at a time."""
    schema = pq.read_schema(shards[0])
    with pq.ParquetWriter(target, schema) as writer:
        for shard in shards:
            for batch in pq.ParquetFile(shard).iter_batches():
                writer.write_table(pa.Table.from_batches([batch]).cast(schema))


def join_lines(shards: Sequence[Path], target: Path) -> None:
    """Write files of JSON rows as one of JSON Lines (.gz), a row at a time: some have millions."""
    with explain_full_disk(target), gzip.GzipFile(target, "wb", mtime=0) as stream:
        for row in (row for shard in shards for row in read_rows(shard)):
            stream.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")


def read_rows(path: Path) -> Iterable[dict[str, Any]]:
    """The rows of a file of JSON Lines, or of one JSON list."""
    with path.open("rb") as stream:
        is_list = path.suffix == ".json" and stream.read(64).lstrip()[:1] == b"["
    return list(read_json(path)) if is_list else (row for _, row in read_lines(path))


def find_shards(snapshot: Path, configuration: str | None, split: str) -> list[Path]:
    """Files of one split in a snapshot, as `select_shards` has them."""
    names = [path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()]
    return [snapshot / name for name in select_shards(names, configuration, split)]


def select_shards(names: Iterable[str], configuration: str | None, split: str) -> list[str]:
    """Files of one split, in order, of the first format that has any: in the configuration's folder, in `data/`, at the top,
    or in the split's own folder of the configuration (the layout of `refs/convert/parquet`). Files at the top whose names say
    no split are the training split (the hub's rule): all that are parquet, else the only one of JSON.
    """
    names = sorted(names)
    folders = [f"{folder}/" for folder in (configuration, "data") if folder is not None] + [""]
    for suffix in (".parquet", *JSON_LINES):
        patterns = [(f"{folder}{split}-*{suffix}", f"{folder}{split}{suffix}") for folder in folders]
        patterns.append((f"{configuration}/{split}/*{suffix}", f"{configuration}/partial-{split}/*{suffix}"))
        patterns.append((f"*_{split}{suffix}", f"*-{split}{suffix}"))
        for pattern in (one for pair in patterns for one in pair):
            shards = [
                name for name in names if fnmatchcase(name, pattern) and name.count("/") == pattern.count("/")
            ]
            if shards:
                return shards
    top = [name for name in names if "/" not in name and name not in DESCRIPTIONS]
    tables = [name for name in top if name.endswith(".parquet")]
    lines = [name for name in top if name.endswith(JSON_LINES)]
    return [] if split != "train" else tables or (lines if len(lines) == 1 else [])

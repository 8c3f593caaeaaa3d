"""From a snapshot of a hub data set to the raw layout that every source shares."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from preftune.errors import PreftuneError
from preftune.files import read_jsonl, write_jsonl
from preftune.settings.sources import DatasetSource

JSON_LINES = (".jsonl", ".jsonl.gz", ".json", ".json.gz")


def arrange_snapshot(source: DatasetSource, snapshot: Path, output: Path) -> None:
    """Join the shards of each split of the snapshot into the raw layout's file: `<path>/<split>.parquet`, or where they are
    JSON Lines `<path>/<split>.jsonl.gz`.
    """
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
            tables = [pq.read_table(shard) for shard in shards]
            pq.write_table(pa.concat_tables(tables), output / f"{stem}.parquet")
        else:
            write_jsonl(target, (row for shard in shards for row in read_jsonl(shard)))


def find_shards(snapshot: Path, configuration: str | None, split: str) -> list[Path]:
    """Files of one split, in order, of the first format that has any: in the configuration's folder, in `data/`, or at the
    top. A repository's only JSON Lines file is its training split, whatever its name (the hub's rule).
    """
    folders = [snapshot / folder for folder in (configuration, "data", ".") if folder is not None]
    for suffix in (".parquet", *JSON_LINES):
        for folder in folders:
            shards = sorted(folder.glob(f"{split}-*{suffix}")) or sorted(folder.glob(f"{split}{suffix}"))
            if shards:
                return shards
    lines = [path for path in snapshot.iterdir() if path.name.endswith((".jsonl", ".jsonl.gz"))]
    return lines if split == "train" and len(lines) == 1 else []

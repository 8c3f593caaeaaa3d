"""From a snapshot of a hub data set to the raw layout that every source shares."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from preftune.errors import PreftuneError
from preftune.settings.sources import DatasetSource


def arrange_snapshot(source: DatasetSource, snapshot: Path, output: Path) -> None:
    """Join the parquet shards of each split of the snapshot into the raw layout's file, `<path>/<split>.parquet`."""
    for split, hub_split in source.splits.items():
        if split not in source.files:
            continue
        shards = find_shards(snapshot, source.configuration, hub_split)
        if not shards:
            raise PreftuneError(
                f"{source.repo}: the snapshot holds no parquet file of split {hub_split}: its layout has changed, pin the "
                "revision that the registry was written for."
            )
        target = output / source.files[split].removesuffix(".gz").removesuffix(".jsonl")
        target.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.concat_tables([pq.read_table(shard) for shard in shards]), f"{target}.parquet")


def find_shards(snapshot: Path, configuration: str | None, split: str) -> list[Path]:
    """Parquet shards of one split, in order: in the configuration's folder, in `data/`, or at the top."""
    for folder in (configuration, "data", "."):
        if folder is not None:
            shards = sorted((snapshot / folder).glob(f"{split}-*.parquet")) or sorted(
                (snapshot / folder).glob(f"{split}.parquet")
            )
            if shards:
                return shards
    return []

"""Documents of plain text, read one by one from shards of any size."""

import random
from collections.abc import Iterator
from pathlib import Path

from preftune.data.row_files import read_files
from preftune.errors import PreftuneError

SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".json.gz", ".json.zst", ".parquet")


def find_shards(root: Path, path: str, seed: int) -> list[Path]:
    """The shards below `root/path`, or the file of that name in any format; in an order drawn by `seed`.

    Raises:
        PreftuneError: there are none.
    """
    place = root / path
    if place.is_dir():
        shards = sorted(file for file in place.rglob("*") if file.name.endswith(SUFFIXES))
    else:
        stem = next((path.removesuffix(suffix) for suffix in SUFFIXES if path.endswith(suffix)), path)
        shards = [file for suffix in SUFFIXES if (file := root / f"{stem}{suffix}").is_file()][:1]
    if not shards:
        raise PreftuneError(
            f"{place} holds no shard of documents ({', '.join(SUFFIXES)}): fetch the data set, or place its files there."
        )
    random.Random(f"shards {seed}").shuffle(shards)
    return shards


def read_documents(shard: Path, column: str) -> Iterator[str]:
    """The texts of a shard, one after another; empty ones too.

    Raises:
        PreftuneError: the shard is damaged, or a row is not UTF-8, not JSON or has no text in `column`; with its row.
    """
    for place, row in read_files([shard]):
        text = row.get(column)
        if not isinstance(text, str):
            raise PreftuneError(
                f"{place} has no text {column}: repair the row, or name the key of the texts."
            )
        yield text

"""Rows on their way into a `datasets` folder: first to a file as they come, then into an order that is known only when all of
them are there. Memory holds one part of them at a time, and no file is mapped, so that its pages do not count as memory either.
"""

import math
import mmap
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset, DatasetInfo, Features
from datasets.arrow_writer import ArrowWriter

from preftune.files import sha256_file, sha256_lines, write_json

PART_BYTES = 64 << 20
BATCH_ROWS = 1000

Row = dict[str, Any]


class Spill:
    """A file of rows in the order in which they were added.

    Attributes:
        rows, bytes: how many rows were written, and their size in memory.
    """

    def __init__(self, path: Path, features: Features) -> None:
        self.features = features
        self.rows = self.bytes = 0
        self._path = path
        self._pending: list[Row] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_stream(self._file, features.arrow_schema)

    def add(self, row: Row) -> None:
        """Add a row of the features' columns."""
        self._pending.append(row)
        if len(self._pending) == BATCH_ROWS:
            self._flush()

    def _flush(self) -> None:
        batch = pa.RecordBatch.from_pylist(self._pending, schema=self.features.arrow_schema)
        self._writer.write_batch(batch)
        self.rows += batch.num_rows
        self.bytes += batch.nbytes
        self._pending = []

    def finish(self) -> None:
        """Write what is pending; no row comes any more."""
        self._flush()
        self._writer.close()
        self._file.close()

    def take(self, order: Sequence[int]) -> Iterator[pa.Table]:
        """Yield tables of the finished spill's rows at these places, in their order, and delete the file.

        The rows are dealt out to one file for each of the tables, which is small enough to be put into order in memory.
        """
        wanted = np.asarray(order, dtype=np.int64)
        length = self._part_length(len(wanted))
        parts = [
            self._path.with_name(f"{self._path.name}-{part}") for part in range(-(-len(wanted) // length))
        ]
        self._deal(wanted, length, parts)
        self._path.unlink()
        for part, path in enumerate(parts):
            places = wanted[part * length : (part + 1) * length]
            # A part holds its rows in the spill's order: the rank of a place is where its row stands.
            ranks = np.argsort(np.argsort(places))
            with pa.OSFile(str(path)) as file:
                table = pa.ipc.open_stream(file).read_all()
            path.unlink()
            yield table.combine_chunks().take(pa.array(ranks))

    def _part_length(self, rows: int) -> int:
        parts = math.ceil(self.bytes * rows / max(1, self.rows) / PART_BYTES)
        return math.ceil(rows / max(1, parts))

    def _deal(self, wanted: np.ndarray[Any, Any], length: int, parts: Sequence[Path]) -> None:
        part_of = np.full(self.rows, -1)
        part_of[wanted] = np.arange(len(wanted)) // length
        schema = self.features.arrow_schema
        with ExitStack() as stack:
            files = [stack.enter_context(pa.OSFile(str(path), "wb")) for path in parts]
            writers = [stack.enter_context(pa.ipc.new_stream(file, schema)) for file in files]
            start = 0
            for batch in pa.ipc.open_stream(stack.enter_context(pa.OSFile(str(self._path)))):
                here = part_of[start : start + batch.num_rows]
                start += batch.num_rows
                for part in np.unique(here[here >= 0]):
                    writers[part].write_batch(batch.take(pa.array(np.flatnonzero(here == part))))


class MappedRows:
    """Rows of a prepared split, read at any places; the pages of its files are given back after each reading."""

    def __init__(self, rows: Dataset) -> None:
        self._maps = []
        tables = []
        for file in rows.cache_files:
            with open(file["filename"], "rb") as stream:
                self._maps.append(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
            tables.append(pa.ipc.open_stream(pa.py_buffer(self._maps[-1])).read_all())
        self._batches = [batch for table in tables or [rows.data.table] for batch in table.to_batches()]
        self._ends = np.cumsum([batch.num_rows for batch in self._batches])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def take(self, places: Sequence[int]) -> list[Row]:
        """Return the rows at these places."""
        found = []
        for place, which in zip(places, np.searchsorted(self._ends, places, side="right"), strict=True):
            batch = self._batches[which]
            found.append(batch.slice(place - int(self._ends[which]) + batch.num_rows, 1))
        rows: list[Row] = pa.Table.from_batches(found).combine_chunks().to_pylist()
        for pages in self._maps:
            pages.madvise(mmap.MADV_DONTNEED)
        return rows


def write_dataset(spill: Spill, order: Sequence[int], folder: Path) -> None:
    """Write the rows of a finished spill at the places `order`, in this order, as a folder for `datasets.load_from_disk`.

    Equal rows in an equal order give equal bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for table in spill.take(order):
        written.append(folder / f"data-{len(written):05d}.arrow")
        with ArrowWriter(features=spill.features, path=str(written[-1])) as writer:
            writer.write_table(table)
            writer.finalize()
    files = [path.rename(folder / f"{path.stem}-of-{len(written):05d}.arrow") for path in written]
    DatasetInfo(features=spill.features).write_to_directory(str(folder), pretty_print=True)
    write_json(folder / "state.json", {
        "_data_files": [{"filename": path.name} for path in files],
        "_fingerprint": sha256_lines({path.name: sha256_file(path) for path in files})[:16],
        "_format_columns": None, "_format_kwargs": {}, "_format_type": None, "_output_all_columns": False,
        "_split": None,
    })  # fmt: skip

"""Files of rows, read one after another: JSON Lines (plain, gzip or zstd), parquet, tab-separated text.

A reader yields each row with its place (file and row, from 1), by which every later error names it.
"""

import gzip
import io
import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from preftune.errors import PreftuneError

Placed = tuple[str, dict[str, Any]]
"""A row and its place."""
_BUFFER = 1 << 20


class Reader(Protocol):
    """What reads the rows of a split from its files, or from the files of its folder."""

    def __call__(self, paths: Sequence[Path]) -> Iterator[Placed]: ...


def read_files(paths: Sequence[Path]) -> Iterator[Placed]:
    """Yield the rows of .jsonl, .jsonl.gz, .json, .json.gz and .parquet files, one file after another."""
    for path in paths:
        yield from _read_parquet(path) if path.suffix == ".parquet" else read_lines(path)


@dataclass(frozen=True)
class SplitFiles:
    """Where a split stands, and what reads it."""

    paths: tuple[Path, ...]
    reader: Reader = read_files
    layout: str = "rows in the hub's columns"

    def rows(self) -> Iterator[Placed]:
        """Yield the split's rows; none at all is a PreftuneError."""
        empty = True
        for placed in self.reader(self.paths):
            empty = False
            yield placed
        if empty:
            raise PreftuneError(f"{self.paths[0]} is empty: fetch or copy it again.")


def read_lines(path: Path) -> Iterator[Placed]:
    """Yield the rows of a file of JSON Lines, plain or gzip."""
    for place, line in read_text(path):
        try:
            row = json.loads(line)
        # Numbers and nesting without end are no JSONDecodeError.
        except (ValueError, RecursionError) as error:
            raise PreftuneError(
                f"{place} is not valid JSON ({getattr(error, 'msg', error)}): repair or fetch it again."
            ) from error
        if not isinstance(row, dict):
            raise PreftuneError(f"{place} is not a JSON object: each line must be one row {{...}}.")
        yield place, row


def read_text(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the lines of a text file, plain or gzip, without their line break and a byte order mark."""
    number = 0
    try:
        with _open_bytes(path) as stream:
            for number, line in enumerate(stream, start=1):
                place = f"{path}, row {number}"
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    raise PreftuneError(f"{place} is not UTF-8 text: convert the file to UTF-8.") from error
                yield place, text.removesuffix("\n").removesuffix("\r")
    except FileNotFoundError as error:
        raise PreftuneError(
            f"{path} does not exist: check data_root, or fetch the data set again."
        ) from error
    except (EOFError, OSError, zlib.error) as error:
        kind = "zstd" if path.suffix == ".zst" else "gzip"
        raise PreftuneError(
            f"{path} is truncated or not a {kind} file (after row {number}): fetch or copy it again."
        ) from error


def _open_bytes(path: Path) -> IO[bytes]:
    if path.suffix == ".zst":
        return io.BufferedReader(pa.input_stream(str(path), compression="zstd"), _BUFFER)
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _read_parquet(path: Path) -> Iterator[Placed]:
    number = 0
    with _explain_parquet(path), pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
        if len(set(names)) < len(names):
            raise PreftuneError(
                f"{path} has two columns of one name ({', '.join(names)}): take one of them out."
            )
        for batch in file.iter_batches(batch_size=1000):
            columns = {name: _values(path, batch, name) for name in batch.schema.names}
            for row in zip(*columns.values(), strict=True):
                number += 1
                yield f"{path}, row {number}", dict(zip(columns, row, strict=True))


def _values(path: Path, batch: pa.RecordBatch, column: str) -> list[Any]:
    values = batch.column(column)
    try:
        found: list[Any] = values.to_pylist()
    except UnicodeDecodeError as error:
        raise PreftuneError(
            f"{path}: the column {column} holds text that is not UTF-8: convert it to UTF-8."
        ) from error
    except (pa.ArrowException, ValueError) as error:
        raise PreftuneError(
            f"{path}: the column {column} is of the type {values.type}, which cannot be read: write it in the hub's type."
        ) from error
    return found


@contextmanager
def _explain_parquet(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise PreftuneError(
            f"{path} does not exist: check data_root, or fetch the data set again."
        ) from error
    except (pa.ArrowException, OSError) as error:
        raise PreftuneError(
            f"{path} is empty, truncated or not a parquet file: fetch or copy it again."
        ) from error

"""Reading, hashing and atomic writing of files: every file of the project appears whole or not at all."""

import errno
import fcntl
import gzip
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from preftune.errors import PreftuneError

_BLOCK = 1 << 20


@contextmanager
def explain_full_disk(path: Path) -> Iterator[None]:
    """Turn 'no space left' and 'read-only' into one sentence that names the place."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise PreftuneError(
                f"No space is left on the disk that holds {path}: free some space and run the same command again, "
                "everything that was finished is kept."
            ) from error
        if error.errno == errno.EROFS:
            raise PreftuneError(f"{path} lies on a read-only disk: choose another results folder.") from error
        raise


@contextmanager
def hold_lock(path: Path, owner: str, busy: str) -> Iterator[None]:
    """Hold a lock file inside the block, with `owner` as its text.

    Raises:
        PreftuneError: another process holds it; `busy` is the sentence, in which {owner} stands for that one's text.
    """
    with explain_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a+")
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            stream.seek(0)
            raise PreftuneError(busy.format(owner=stream.read().strip() or "unknown")) from error
        stream.truncate(0)
        stream.write(f"{owner}\n")
        stream.flush()
        yield


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to a temporary file beside `path`, flush it to the disk and rename it into place."""
    path = Path(path)
    with explain_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def atomic_write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    atomic_write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys and an indent of one space, atomically: equal values give equal bytes."""
    atomic_write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; a missing or damaged one is an error that names it."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise PreftuneError(
            f"{path} does not exist: run the step that makes it, or `make results`."
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise PreftuneError(
            f"{path} is not valid JSON ({error}): delete it and run the step that makes it again."
        ) from error


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read JSON Lines, plain or gzip; errors name the file, the row (from 1) and the remedy."""
    path = Path(path)
    rows: list[dict[str, Any]] = []
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                rows.append(_parse_row(path, number, line))
    except FileNotFoundError as error:
        raise PreftuneError(
            f"{path} does not exist: check data_root, or fetch the data set again."
        ) from error
    except (EOFError, gzip.BadGzipFile) as error:
        raise PreftuneError(
            f"{path} is truncated or not a gzip file (after row {len(rows)}): fetch or copy it again."
        ) from error
    if not rows:
        raise PreftuneError(f"{path} is empty: fetch or copy it again.")
    return rows


def _parse_row(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise PreftuneError(f"{path}, row {number} is not UTF-8 text: convert the file to UTF-8.") from error
    except json.JSONDecodeError as error:
        raise PreftuneError(
            f"{path}, row {number} is not valid JSON ({error.msg}): repair or fetch it again."
        ) from error
    if not isinstance(row, dict):
        raise PreftuneError(f"{path}, row {number} is not a JSON object: each line must be one row {{...}}.")
    return row


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write JSON Lines atomically; a `.gz` name is compressed without a time stamp, so equal rows give equal bytes."""
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    atomic_write_bytes(path, gzip.compress(data, mtime=0) if Path(path).suffix == ".gz" else data)


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, hex."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def list_tree(folder: Path) -> list[Path]:
    """Every file below `folder` but its `run.json` and the time stamp that Snakemake leaves there, sorted by path."""
    others = {Path(folder) / "run.json", Path(folder) / ".snakemake_timestamp"}
    files = (path for path in Path(folder).rglob("*") if path.is_file() and path not in others)
    return sorted(files, key=lambda path: path.as_posix())


def sha256_tree(path: Path) -> str:
    """SHA-256 of a file, or of a folder as the list of its files' relative names and hashes (without `run.json`)."""
    path = Path(path)
    if path.is_file():
        return sha256_file(path)
    return sha256_lines({file.relative_to(path).as_posix(): sha256_file(file) for file in list_tree(path)})


def sha256_lines(files: Mapping[str, str]) -> str:
    """SHA-256 of a folder from the hashes of its files by relative path, in the order of `list_tree`."""
    lines = (f"{digest}  {name}\n" for name, digest in files.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def replace_path(source: Path, target: Path) -> None:
    """Move a finished file or folder into place; an older folder of that name is removed only after the swap."""
    if target.is_dir() and not target.is_symlink():
        old = target.with_name(f".{target.name}.old-{os.getpid()}")
        os.replace(target, old)
        os.replace(source, target)
        shutil.rmtree(old)
    else:
        os.replace(source, target)

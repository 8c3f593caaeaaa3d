"""Files as one tar, cut into pieces of a fixed size, for a way that takes only small ones. Needs nothing but Python.

A folder of pieces holds `part-01.tar`, `part-02.tar`, ... and `manifest.json` with the SHA-256 of each; the parts joined in order
are one tar, so that a large file lies in several of them. Equal files give equal bytes: they are sorted and carry neither times
nor owners.
"""

import hashlib
import io
import json
import lzma
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

from preftune.errors import PreftuneError
from preftune.files import sha256_file, write_json

MANIFEST = "manifest.json"
_BLOCK = 1 << 20


def write_pieces(
    files: Mapping[str, Path], folder: Path, limit: int, facts: Mapping[str, Any], compress: bool = False
) -> list[Path]:
    """Write `files`, by the path that each has where they are joined, as pieces of at most `limit` bytes.

    Args:
        folder: is replaced as a whole.
        facts: what else the manifest says.
        compress: with xz; what is compressed already, as wheels and photographs are, does not shrink.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    cut = _Cut(folder, limit)
    with (
        lzma.LZMAFile(cast(BinaryIO, cut), "wb", preset=1) if compress else cut as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name, path in sorted(files.items()):
            _add(tar, name, path)
    cut.close()
    manifest = {**facts, "compressed": compress, "files": len(files), "parts": cut.hashes}
    write_json(folder / MANIFEST, manifest)
    return [folder / name for name in cut.hashes]


def _add(tar: tarfile.TarFile, name: str, path: Path) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = path.stat().st_size, 0o644
    with path.open("rb") as stream:
        tar.addfile(member, stream)


class _Cut(io.RawIOBase):
    """A stream that goes on in the next part where one is full."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.hashes: dict[str, str] = {}
        self._folder, self._limit = folder, limit
        self._part: BinaryIO | None = None
        self._room = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view):
            if not self._room:
                self._begin()
            some = view[done : done + self._room]
            assert self._part is not None
            self._part.write(some)
            self._digest.update(some)
            done, self._room = done + len(some), self._room - len(some)
        return done

    def _begin(self) -> None:
        self._end()
        self._name = f"part-{len(self.hashes) + 1:02}.tar"
        self._part, self._room = (self._folder / self._name).open("wb"), self._limit
        self._digest = hashlib.sha256()

    def _end(self) -> None:
        if self._part is not None:
            self._part.close()
            self.hashes[self._name] = self._digest.hexdigest()
            self._part = None

    def close(self) -> None:
        self._end()
        super().close()


def join_pieces(folder: Path, destination: Path) -> dict[str, Any]:
    """Verify every piece of a folder, write their files below `destination`, and return the manifest.

    Raises:
        PreftuneError: a piece is missing or is not what it was; nothing has been written then.
    """
    manifest = read_manifest(folder)
    parts = [folder / name for name in manifest["parts"]]
    if missing := [part.name for part in parts if not part.is_file()]:
        raise PreftuneError(
            f"{folder} lacks {', '.join(missing)} of {len(parts)} pieces: bring the missing ones and call this again."
        )
    for part in parts:
        if sha256_file(part) != manifest["parts"][part.name]:
            raise PreftuneError(
                f"{part} is not the piece that was packed (another sha256): bring it again and call this again."
            )
    joined = io.BufferedReader(_Joined(parts), _BLOCK)
    with (
        lzma.LZMAFile(joined) if manifest["compressed"] else joined as stream,
        tarfile.open(fileobj=stream, mode="r|") as tar,
    ):
        tar.extractall(destination, filter="data")
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a folder of pieces says of itself."""
    path = folder / MANIFEST
    if not path.is_file():
        raise PreftuneError(f"{folder} holds no {MANIFEST}: bring it with the pieces that `make pack` wrote.")
    return cast(dict[str, Any], json.loads(path.read_text()))


class _Joined(io.RawIOBase):
    """The parts one after another, as one stream."""

    def __init__(self, parts: list[Path]) -> None:
        self._blocks = _read(parts)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = next(self._blocks, b"")
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


def _read(parts: list[Path]) -> Iterator[bytes]:
    for part in parts:
        with part.open("rb") as stream:
            while block := stream.read(_BLOCK):
                yield block

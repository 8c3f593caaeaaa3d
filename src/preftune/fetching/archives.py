"""Taking files out of an archive that nobody vouches for: zip and tar, refused by name before a byte of theirs is kept."""

import bz2
import fnmatch
import gzip
import lzma
import os
import posixpath
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

from preftune.errors import PreftuneError
from preftune.files import explain_full_disk
from preftune.progress import track

_BLOCK = 1 << 20
_FREE = 1 << 30
_RATIO = 4
_MANY = 1000
"""Members from which on a bar shows them."""
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    NotImplementedError,  # zipfile's word for a compression that it does not know
)
_OPENERS: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}


@dataclass(frozen=True)
class Member:
    """A member as its archive declares it; `fault` is why it may not be taken, in words."""

    name: str
    size: int
    folder: bool
    fault: str = ""


def unpack(
    archive: Path, take: Mapping[str, str], output: Path, limit: int | None = None
) -> dict[str, list[Path]]:
    """Write the members that `take` names below `output`; nothing of them stays where one is refused.

    `take` gives each pattern a folder below `output`: a pattern that ends in `/` takes all below that folder of the archive,
    with the folders below it; another one (as in fnmatch) takes files without their folders. `limit` is the number of bytes
    that all members may have (null: 1 GiB and four times the archive).

    Returns:
        The files of each pattern, in the archive's order.

    Raises:
        PreftuneError: a member with an absolute or climbing path, a link, a device, an encrypted or damaged member, one that
            stands twice, more bytes than the limit, a pattern without members.
    """
    limit = limit or default_limit(archive)
    with _explain(archive):
        members = list(_list(archive, limit))
    _refuse(archive, members, limit)
    targets = _place(archive, members, take)
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpack-", dir=output) as folder:
        with _explain(archive), explain_full_disk(output):
            _extract(archive, targets, Path(folder), limit)
        for target in targets.values():
            (output / target).parent.mkdir(parents=True, exist_ok=True)
            os.replace(Path(folder) / target, output / target)
    return {
        pattern: [output / target for name, target in targets.items() if _matches(pattern, name)]
        for pattern in take
    }


def default_limit(archive: Path) -> int:
    """Bytes that an archive's members may have together."""
    return _FREE + _RATIO * archive.stat().st_size


def find_damage(archive: Path) -> str:
    """Why a file is no archive, or not a whole one, in words; empty where its list of members can be read."""
    try:
        for _ in _list(archive, default_limit(archive)):
            pass
    except _DAMAGE as error:
        return f"it is no whole archive ({type(error).__name__})"
    except PreftuneError:
        return ""  # a whole one, which `unpack` refuses by name
    return ""


@contextmanager
def _explain(archive: Path) -> Iterator[None]:
    try:
        yield
    except PreftuneError:
        raise
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise PreftuneError(f"{archive.name} is damaged ({error}): fetch it again.") from error


def _list(archive: Path, limit: int) -> Iterator[Member]:
    """Every member, as declared."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist():
                yield Member(_normal(info.filename), info.file_size, info.is_dir(), _zip_fault(info))
        return
    with _open_tar(archive, limit) as stream:
        for member in stream:
            fault = "" if member.isreg() or member.isdir() else "is a link or a device"
            yield Member(_normal(member.name), member.size, member.isdir(), fault or _path_fault(member.name))


def _zip_fault(info: zipfile.ZipInfo) -> str:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    return "is encrypted" if info.flag_bits & 1 else _path_fault(info.orig_filename)


def _path_fault(name: str) -> str:
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ":" in parts[0]:
        return "has an absolute path"
    if ".." in parts:
        return "climbs out of the archive"
    return "has a name that no file can have" if "\0" in name else ""


def _normal(name: str) -> str:
    """`./a//b/` and `a/b` are the same place."""
    return posixpath.normpath(name) if name else name


def _refuse(archive: Path, members: list[Member], limit: int) -> None:
    files: set[str] = set()
    for member in members:
        if member.fault:
            raise PreftuneError(
                f"{archive.name}: the member {member.name!r} {member.fault}: it is not unpacked."
            )
        if not member.folder and member.name in files:
            raise PreftuneError(
                f"{archive.name}: the member {member.name!r} stands twice: it is not unpacked."
            )
        if not member.folder:
            files.add(member.name)
    for member in members:
        parts = member.name.split("/")
        above = {"/".join(parts[:depth]) for depth in range(1, len(parts))}
        if above & files or (member.folder and member.name in files):
            raise PreftuneError(
                f"{archive.name}: the member {member.name!r} needs a folder where a file stands: it is not unpacked."
            )
    total = sum(member.size for member in members)
    if total > limit:
        raise _too_large(archive, f"declares {total:,} bytes", limit)


def _too_large(archive: Path, what: str, limit: int) -> PreftuneError:
    return PreftuneError(
        f"{archive.name} {what}, more than the {limit:,} that it may have: it is not unpacked; is it the right file, raise "
        "`unpacked` of its row in config/datasets.yaml."
    )


def _matches(pattern: str, name: str) -> bool:
    return name.startswith(pattern) if pattern.endswith("/") else fnmatch.fnmatchcase(name, pattern)


def _place(archive: Path, members: list[Member], take: Mapping[str, str]) -> dict[str, str]:
    """Where each taken member goes, relative to the output."""
    targets: dict[str, str] = {}
    for pattern, folder in take.items():
        names = [member.name for member in members if not member.folder and _matches(pattern, member.name)]
        if not names:
            raise PreftuneError(
                f"{archive.name} holds no {pattern}: its layout has changed, correct its row in the registry."
            )
        for name in names:
            inner = name.removeprefix(pattern) if pattern.endswith("/") else name.rpartition("/")[2]
            targets[name] = posixpath.join(folder, inner)
    if len(set(targets.values())) < len(targets):
        raise PreftuneError(
            f"{archive.name}: two members would be the same file: correct its row in the registry."
        )
    return targets


def _extract(archive: Path, targets: dict[str, str], folder: Path, limit: int) -> None:
    left = limit
    pairs = _open_members(archive, targets, limit)
    for name, source in track(pairs, archive.name, len(targets), "file") if len(targets) >= _MANY else pairs:
        path = folder / targets[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as stream:
            while block := source.read(_BLOCK):
                left -= len(block)
                if left < 0:
                    raise _too_large(archive, f"holds more bytes than it declares, in {name!r}", limit)
                stream.write(block)


def _open_members(archive: Path, targets: dict[str, str], limit: int) -> Iterator[tuple[str, IO[bytes]]]:
    """The taken members, each open for reading; its checksum is checked at its end."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist():
                if not info.is_dir() and _normal(info.filename) in targets:
                    with opened.open(info) as source:
                        yield _normal(info.filename), source
        return
    with _open_tar(archive, limit) as stream:
        for member in stream:
            content = stream.extractfile(member) if _normal(member.name) in targets else None
            if content is not None:
                yield _normal(member.name), content


class _Limited:
    """A stream that ends in an error once more bytes have been read than an archive may have."""

    def __init__(self, stream: IO[bytes], archive: Path, limit: int) -> None:
        self._stream = stream
        self._archive = archive
        self._limit = limit
        self._left = limit + _BLOCK + limit // 10  # headers and padding

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise _too_large(self._archive, "holds more bytes", self._limit)
        return data


@contextmanager
def _open_tar(archive: Path, limit: int) -> Iterator[tarfile.TarFile]:
    """A tar, whatever it is compressed with, read from its first byte to its last, within the limit."""
    with archive.open("rb") as raw:
        start = raw.read(6)
    opener: Callable[..., Any] = next(
        (opener for magic, opener in _OPENERS.items() if start.startswith(magic)), open
    )
    with (
        opener(archive, "rb") as stream,
        tarfile.open(fileobj=_Limited(stream, archive, limit), mode="r|", tarinfo=_Header) as opened,  # type: ignore[call-overload]
    ):
        yield opened
        shutil.copyfileobj(
            _Limited(stream, archive, limit), _Nowhere()
        )  # the checksum stands behind the last member


class _Header(tarfile.TarInfo):
    """A member's header; tarfile takes a damaged or missing one behind the first member for the archive's end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error


class _Nowhere:
    def write(self, data: bytes) -> None:
        pass

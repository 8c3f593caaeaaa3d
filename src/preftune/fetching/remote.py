"""A file elsewhere: its addresses, and what its bytes must be as far as that is known."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True)
class RemoteFile:
    """A file to fetch.

    Attributes:
        urls: where it lies, the official address first, then mirrors.
        bytes: its size; `sha256` and `md5` are hashes of its content, `git_blob` is git's (SHA-1 with a header).
    """

    urls: tuple[str, ...]
    bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None
    git_blob: str | None = None

    @property
    def name(self) -> str:
        """The last part of its address."""
        return Path(urlsplit(self.urls[0]).path).name

    @property
    def key(self) -> str:
        """The name of its state in a scratch folder: another address or other known bytes never continue it."""
        parts = [self.urls[0], self.bytes, self.sha256, self.md5, self.git_blob]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    @property
    def hashed(self) -> bool:
        """Whether a hash of its content is known."""
        return any((self.sha256, self.md5, self.git_blob))


def find_fault(file: RemoteFile, path: Path) -> str:
    """What is wrong with the bytes at `path`, in words; empty where nothing is."""
    size = path.stat().st_size
    if file.bytes is not None and size != file.bytes:
        return f"{size} bytes came, {file.bytes} are expected"
    for name, expected in (("sha256", file.sha256), ("md5", file.md5), ("git_blob", file.git_blob)):
        found = hash_file(path, name) if expected else expected
        if found != expected:
            return f"its {name.replace('_', ' ')} is {found}, {expected} is expected"
    return ""


def hash_file(path: Path, name: str) -> str:
    """A hash of a file, hex: `sha256`, `md5` or `git_blob` (SHA-1 of `blob <size>\\0` and the content)."""
    digest = hashlib.new("sha1" if name == "git_blob" else name, usedforsecurity=False)
    if name == "git_blob":
        digest.update(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: digest).hexdigest()


def public_url(url: str) -> str:
    """An address without what only its owner may know: no user, password or query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"

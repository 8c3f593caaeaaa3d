"""What an audit remembers: SHA-256 of files by device, inode, size and times, and tables that it has computed again."""

import json
from pathlib import Path

from preftune.cluster.site import scratch_folder
from preftune.errors import PreftuneError
from preftune.files import list_tree, sha256_file, sha256_lines, write_json

PASSED = "passed"


class Hashes:
    """Hashes of files and folders; what was read before is taken from a file of `scratch/` unless `deep`.

    A file whose bytes change while its size and times stay the same (a failing disk) is seen by a deep audit alone.
    """

    def __init__(self, deep: bool = False, memory: Path | None = None) -> None:
        self._path = memory or scratch_folder() / "hashes.json"
        self._known: dict[str, str] = {} if deep else self._load()
        self._read = 0

    def _load(self) -> dict[str, str]:
        try:
            known = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def file(self, path: Path) -> str:
        """SHA-256 of a file, hex.

        Raises:
            PreftuneError: it cannot be read.
        """
        try:
            stat = path.stat()
            key = f"{stat.st_dev}-{stat.st_ino}-{stat.st_size}-{stat.st_mtime_ns}-{stat.st_ctime_ns}"
            if key not in self._known:
                self._known[key] = sha256_file(path)
                self._read += 1
        except OSError as error:
            raise PreftuneError(f"{path} cannot be read ({error.strerror}): mend its permissions.") from error
        return self._known[key]

    def files(self, folder: Path) -> dict[str, str]:
        """Hash of every file of a folder but its `run.json`, by relative path."""
        return {path.relative_to(folder).as_posix(): self.file(path) for path in list_tree(folder)}

    def tree(self, path: Path) -> str:
        """The same hash as `preftune.files.sha256_tree`."""
        return self.file(path) if path.is_file() else sha256_lines(self.files(path))

    def has_passed(self, key: str) -> bool:
        """Whether a check of this content by this code has passed before."""
        return self._known.get(key) == PASSED

    def remember_passed(self, key: str) -> None:
        """Remember that a check passed, under a hash of everything that it depends on."""
        self._known[key] = PASSED
        self._read += 1

    def save(self) -> None:
        """Remember what was read; a disk that cannot be written to costs the next audit time, nothing else."""
        if self._read:
            try:
                write_json(self._path, self._known)
            except (PreftuneError, OSError):
                return

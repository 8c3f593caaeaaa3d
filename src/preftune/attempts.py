"""Attempts that failed: they wait in a file beside the output that is still missing, until a success puts them on record."""

from pathlib import Path
from typing import Any

from preftune.files import read_json, write_json


class Attempts:
    """The failed attempts at one output."""

    def __init__(self, output: Path) -> None:
        self._file = output.with_name(f".{output.name}.attempts.json")

    def rows(self) -> list[dict[str, Any]]:
        """The attempts so far, oldest first."""
        return read_json(self._file) if self._file.is_file() else []

    def add(self, **row: Any) -> None:
        """Note one attempt: start, end, error, slurm."""
        write_json(self._file, [*self.rows(), row])

    def clear(self) -> None:
        """Forget them: the output is made and its record holds them."""
        self._file.unlink(missing_ok=True)

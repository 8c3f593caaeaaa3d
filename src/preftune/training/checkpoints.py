"""Checkpoints of a training in progress: written whole or not at all, checked when read, the newest two kept.

They lie in a scratch folder named by the content of everything that the training depends on, not among the workflow's
declared outputs: Snakemake deletes the outputs of a job that failed, and a changed input never meets a stale state.
"""

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from preftune.errors import PreftuneError
from preftune.files import explain_full_disk, read_json, sha256_file, write_json

FORMAT = "preftune/checkpoint/1"
KEPT = 2


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one training.

    Attributes:
        folder: scratch folder of this training alone.
        key: what the training is (code, settings, seed, inputs), stored in each checkpoint.
    """

    folder: Path
    key: str

    def tidy(self) -> None:
        """Delete what a process that was killed while it wrote has left; the step's lease says that none writes now."""
        for leftover in self.folder.glob(".step-*"):
            shutil.rmtree(leftover)

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write the state after `step` steps: temporary name, flushed to the disk, renamed; then drop the oldest."""
        with explain_full_disk(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary = self.folder / f".step-{step:08d}.{os.getpid()}"
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            try:
                _write_state(temporary / "state.pt", state)
                facts = {
                    "format": FORMAT,
                    "key": self.key,
                    "step": step,
                    "sha256": sha256_file(temporary / "state.pt"),
                }
                write_json(temporary / "checkpoint.json", facts)
                target = self.folder / f"step-{step:08d}"
                shutil.rmtree(target, ignore_errors=True)
                os.replace(temporary, target)
                _flush(self.folder)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
        for old in self._found()[KEPT:]:
            shutil.rmtree(old)

    def load(self, device: torch.device) -> tuple[int, dict[str, Any], list[str]] | None:
        """The newest good checkpoint: steps done, state, and a warning for each damaged one that was passed over.

        Raises:
            PreftuneError: a checkpoint belongs to another training.
        """
        warnings: list[str] = []
        for path in self._found():
            try:
                step, state = self._read(path, device)
            except _DamagedError as damage:
                warnings.append(f"checkpoint {path.name} is damaged ({damage}); the one before it is used")
                # Out of the way, so that it never counts as one of the newest two.
                aside = path.with_name(f"damaged-{path.name}")
                shutil.rmtree(aside, ignore_errors=True)
                with suppress(FileNotFoundError):  # another process of this training did it
                    path.rename(aside)
                continue
            return step, state, warnings
        if warnings:
            return 0, {}, [*warnings, "no good checkpoint is left: training starts from its beginning"]
        return None

    def _found(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"), reverse=True) if self.folder.is_dir() else []

    def _read(self, path: Path, device: torch.device) -> tuple[int, dict[str, Any]]:
        try:
            facts = read_json(path / "checkpoint.json")
            step, key, made, expected = facts["step"], facts["key"], facts["format"], facts["sha256"]
            if path.name != f"step-{step:08d}":
                raise ValueError(f"it says that it is step {step}")
            found = sha256_file(path / "state.pt")
        except (PreftuneError, OSError, KeyError, TypeError, ValueError) as error:
            raise _DamagedError(str(error)) from error
        if made != FORMAT or key != self.key:
            raise PreftuneError(
                f"{path} is a checkpoint of another training ({key}, not {self.key}): move it away, or delete the folder "
                f"{self.folder}."
            )
        if found != expected:
            raise _DamagedError("its checksum differs")
        return step, torch.load(path / "state.pt", map_location=device, weights_only=True)


class _DamagedError(Exception):
    """A checkpoint that cannot be read."""


def _write_state(path: Path, state: dict[str, Any]) -> None:
    with path.open("wb") as stream:
        try:
            torch.save(state, stream)
        except RuntimeError as error:  # torch's own complaint about what the failed write left
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise
        stream.flush()
        os.fsync(stream.fileno())


def _flush(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

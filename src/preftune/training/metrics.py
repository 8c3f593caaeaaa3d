"""Metrics of a training: JSON Lines are the truth, TensorBoard and Weights & Biases are mirrors of them.

`PREFTUNE_TENSORBOARD=<folder>` and `PREFTUNE_WANDB=<project>` switch the mirrors on. They are no settings, since no
result depends on them; their packages are the user's to install.
"""

import json
import math
import os
from pathlib import Path
from typing import Any, Protocol

from preftune.errors import PreftuneError

Row = dict[str, Any]


class Mirror(Protocol):
    """Somewhere else that rows are shown."""

    def write(self, step: int, values: dict[str, float]) -> None:
        """Show the numbers of one step."""

    def close(self) -> None:
        """Nothing more comes."""


class MetricsLog:
    """The rows of one training, one a step, written as they come.

    A row holds what depends on the run alone, so that equal runs write equal bytes; times go to the mirrors and to the
    step's record.
    """

    def __init__(self, path: Path | None, earlier: str, name: str) -> None:
        """Start the file with the text of the steps before a resume; without a path nothing is written or mirrored."""
        self._text = [earlier]
        self._stream = Path(path or os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 (closed by close)
        self._stream.write(earlier)
        self._mirrors = open_mirrors(name) if path is not None else []

    def write(self, row: Row, speed: dict[str, float]) -> None:
        """Append one step's row; `speed` goes to the mirrors only."""
        row = {key: None if _is_bad(value) else value for key, value in row.items()}  # JSON knows no NaN
        line = json.dumps(row) + "\n"
        self._text.append(line)
        self._stream.write(line)
        self._stream.flush()
        numbers = {key: float(value) for key, value in row.items() if key != "step" and value is not None}
        for mirror in self._mirrors:
            mirror.write(row["step"], numbers | speed)

    @property
    def text(self) -> str:
        """Everything written so far."""
        return "".join(self._text)

    def close(self) -> None:
        """Close the file and the mirrors."""
        self._stream.close()
        for mirror in self._mirrors:
            mirror.close()


def _is_bad(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def open_mirrors(name: str) -> list[Mirror]:
    """The mirrors that the environment asks for; `name` is the run's name in them."""
    mirrors: list[Mirror] = []
    if folder := os.environ.get("PREFTUNE_TENSORBOARD"):
        mirrors.append(_TensorBoard(Path(folder) / name))
    if project := os.environ.get("PREFTUNE_WANDB"):
        mirrors.append(_WeightsAndBiases(project, name))
    return mirrors


class _TensorBoard:
    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise _missing("PREFTUNE_TENSORBOARD", "tensorboard") from error
        self._writer = SummaryWriter(str(folder))

    def write(self, step: int, values: dict[str, float]) -> None:
        for key, value in values.items():
            self._writer.add_scalar(key, value, step)

    def close(self) -> None:
        self._writer.close()


class _WeightsAndBiases:
    def __init__(self, project: str, name: str) -> None:
        try:
            import wandb
        except ImportError as error:
            raise _missing("PREFTUNE_WANDB", "wandb") from error
        self._run = wandb.init(project=project, name=name)

    def write(self, step: int, values: dict[str, float]) -> None:
        self._run.log(values, step=step)

    def close(self) -> None:
        self._run.finish()


def _missing(variable: str, package: str) -> PreftuneError:
    return PreftuneError(
        f"{variable} is set but the package {package} is not installed: pip install {package}, or unset {variable}."
    )

"""MRPC: do two sentences say the same?"""

from dataclasses import dataclass
from typing import ClassVar

from preftune.data.tasks.base import Task


@dataclass(frozen=True)
class Mrpc(Task):
    """Columns sentence1, sentence2, label (1 paraphrase)."""

    templates: ClassVar[tuple[str, ...]] = ("mrpc",)
    labels: ClassVar[int] = 2

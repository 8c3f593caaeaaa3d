"""WNLI: does a sentence with its pronoun resolved follow?"""

from dataclasses import dataclass
from typing import ClassVar

from preftune.data.tasks.base import Task


@dataclass(frozen=True)
class Wnli(Task):
    """Columns sentence1, sentence2, label (1 entailment)."""

    templates: ClassVar[tuple[str, ...]] = ("wnli",)
    labels: ClassVar[int] = 2

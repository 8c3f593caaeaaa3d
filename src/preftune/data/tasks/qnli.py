"""QNLI: does a sentence answer a question?"""

from dataclasses import dataclass
from typing import ClassVar

from preftune.data.tasks.base import Task


@dataclass(frozen=True)
class Qnli(Task):
    """Columns question, sentence, label (0 entailment: it does)."""

    templates: ClassVar[tuple[str, ...]] = ("qnli",)
    labels: ClassVar[int] = 2

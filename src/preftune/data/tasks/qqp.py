"""QQP: do two questions ask the same?"""

from dataclasses import dataclass
from typing import ClassVar

from preftune.data.tasks.base import Task


@dataclass(frozen=True)
class Qqp(Task):
    """Columns question1, question2, label (1 duplicate)."""

    templates: ClassVar[tuple[str, ...]] = ("qqp",)
    labels: ClassVar[int] = 2

"""BoolQ: a yes/no question on a passage."""

from dataclasses import dataclass
from typing import ClassVar

from preftune.data.tasks.base import Task


@dataclass(frozen=True)
class BoolQ(Task):
    """Columns passage, question (lower case, no question mark), label (1 yes)."""

    templates: ClassVar[tuple[str, ...]] = ("boolq",)
    labels: ClassVar[int] = 2

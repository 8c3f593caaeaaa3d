"""CoLA: is a sentence acceptable English?"""

from dataclasses import dataclass
from typing import ClassVar

from preftune.data.tasks.base import Task


@dataclass(frozen=True)
class Cola(Task):
    """Columns sentence, label (0 unacceptable, 1 acceptable)."""

    templates: ClassVar[tuple[str, ...]] = ("cola",)
    labels: ClassVar[int] = 2

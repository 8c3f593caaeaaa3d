"""SST-2: the sentiment of a sentence of a review."""

from dataclasses import dataclass
from typing import ClassVar

from preftune.data.tasks.base import Task


@dataclass(frozen=True)
class Sst2(Task):
    """Columns sentence, label (0 negative, 1 positive)."""

    templates: ClassVar[tuple[str, ...]] = ("sst2",)
    labels: ClassVar[int] = 2

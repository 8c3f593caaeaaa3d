"""ARC, easy and challenge: science questions with three to five options."""

from dataclasses import dataclass
from typing import ClassVar

from preftune.data.tasks.base import ChoicesTask


@dataclass(frozen=True)
class Arc(ChoicesTask):
    """Columns question, choices (text, label: letters or digits), answerKey."""

    templates: ClassVar[tuple[str, ...]] = ("arc",)

"""OpenBookQA: a stem to complete by one of four options."""

from dataclasses import dataclass
from typing import ClassVar

from preftune.data.tasks.base import ChoicesTask


@dataclass(frozen=True)
class OpenBookQa(ChoicesTask):
    """Columns question_stem, choices (text, label), answerKey."""

    templates: ClassVar[tuple[str, ...]] = ("openbookqa",)

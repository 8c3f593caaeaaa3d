"""HellaSwag: which ending continues a text."""

from dataclasses import dataclass
from typing import ClassVar

from preftune.data.tasks.base import Row, Task


@dataclass(frozen=True)
class HellaSwag(Task):
    """Columns activity_label, ctx (ctx_a and ctx_b joined), endings, label (an index, in the hub's files a string).

    The paper has two tasks of it: one that asks to continue the text, which is scored, and one that lists the endings, which
    is only trained on. They differ in their wording alone.
    """

    templates: ClassVar[tuple[str, ...]] = ("hellaswag", "hellaswag-choice")

    def options(self, row: Row) -> list[str]:
        return list(row["endings"])

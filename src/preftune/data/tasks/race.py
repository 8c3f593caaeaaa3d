"""RACE, middle and high: questions on a passage."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from preftune.data.tasks.base import Row, Task, find_letter


@dataclass(frozen=True)
class Race(Task):
    """Columns article, question, options (four texts), answer (a letter)."""

    templates: ClassVar[tuple[str, ...]] = ("race",)
    label_column: ClassVar[str] = "answer"

    def options(self, row: Row) -> list[str]:
        return list(row["options"])

    def gold(self, row: Row) -> int:
        return find_letter(str(self.label_value(row)), self.letters(row))

    def arrange(self, rows: Iterable[Row]) -> Iterable[Row]:
        """Where the template names `earlier`: the last question of each article, with the others and their `right` options.

        Other templates ask every row. A split that was cut (`limit_evaluation`) lacks questions of most articles.
        """
        if "earlier" not in self.template.fields:
            return rows
        articles: dict[str, list[Row]] = {}
        # Prepared rows are shuffled; their names hold their places in the source.
        for row in sorted(rows, key=lambda row: int(row["document"].rpartition("-")[2])):
            articles.setdefault(row["article"], []).append(row)
        return [
            {**last, "earlier": [self._answered(row) for row in others]}
            for *others, last in articles.values()
        ]

    def _answered(self, row: Row) -> dict[str, Any]:
        return {**row, "right": self.options(row)[self.gold(row)]}

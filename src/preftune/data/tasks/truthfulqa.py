"""TruthfulQA, one true answer (mc1): the truth among common wrong beliefs."""

from dataclasses import dataclass
from typing import ClassVar

from preftune.data.tasks.base import Row, ShuffledTask


@dataclass(frozen=True)
class TruthfulQaMc1(ShuffledTask):
    """Columns question, mc1_targets (choices, labels: one 1, in the hub's rows the first)."""

    templates: ClassVar[tuple[str, ...]] = ("truthfulqa-mc1",)

    def answers(self, row: Row) -> list[str]:
        choices, labels = row["mc1_targets"]["choices"], list(row["mc1_targets"]["labels"])
        if len(choices) != len(labels) or labels.count(1) != 1:
            raise ValueError("mc1_targets has not exactly one true choice: correct the row or take it out")
        true = labels.index(1)
        return [choices[true], *choices[:true], *choices[true + 1 :]]

"""Supervised fine-tuning: cross-entropy of the answers, never of the prompts."""

from collections.abc import Sequence

from torch import Tensor

from preftune.preference.heads import PreferenceModel
from preftune.training.objective import Logged, TreeExample
from preftune.training.trees import Tree


class SftObjective:
    """Mean negative log-probability of the global batch's answer tokens, `<|im_end|>` included, in nats.

    The sum is divided by the number of answer tokens of the whole global batch, so a long answer weighs more than a
    short one, and neither padding nor the split into micro-batches weighs anything.
    """

    def __init__(self, model: PreferenceModel, rows: Sequence[Tree]) -> None:
        self.model = model
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def draw(self, index: int, step: int) -> TreeExample:
        """The row itself."""
        return TreeExample(self.rows[index])

    def units(self, example: TreeExample) -> int:
        """Answer tokens."""
        return len(example.tree.branches[0])

    def split(self, examples: Sequence[TreeExample], budget: int) -> list[list[int]]:
        """As the reader counts."""
        return self.model.reader.split([example.tree for example in examples], budget)

    def loss(self, examples: Sequence[TreeExample], units: int) -> tuple[Tensor, Logged]:
        """This micro-batch's part of the mean, and its number of answer tokens."""
        logps = self.model([example.tree for example in examples]).token_log_probabilities
        assert logps is not None
        return -logps.sum() / units, {"completion_tokens": len(logps)}

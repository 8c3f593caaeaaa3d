"""What a training minimises, as the loop sees it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from torch import Tensor

from preftune.training.trees import Tree

# Numbers, or tensors of one number that need not be waited for yet.
Logged = dict[str, Any]


class Example(Protocol):
    """One training example as one step sees it."""

    @property
    def name(self) -> str:
        """Which one it is, for messages."""

    @property
    def tokens(self) -> int:
        """How many tokens it has."""


@dataclass(frozen=True)
class TreeExample:
    """An example that the language model reads as a tree; objectives add what else they need."""

    tree: Tree

    @property
    def name(self) -> str:
        """The tree's name."""
        return self.tree.name

    @property
    def tokens(self) -> int:
        """The tree's tokens, the prompt counted once."""
        return self.tree.tokens


E = TypeVar("E", bound=Example)


class Objective(Protocol[E]):
    """What is minimised: a mean over units (answer tokens, pairs) of the global batch."""

    def __len__(self) -> int:
        """Number of examples."""

    def draw(self, index: int, step: int) -> E:
        """The example as step `step` (from 1) sees it; a random choice must follow from the arguments."""

    def units(self, example: E) -> int:
        """How many units of the mean the example holds."""

    def split(self, examples: Sequence[E], budget: int) -> list[list[int]]:
        """Places of the examples that share a pass of at most `budget` tokens, as the model reads them."""

    def loss(self, examples: Sequence[E], units: int) -> tuple[Tensor, Logged]:
        """This micro-batch's part of the loss and of the logged values; parts add up over micro-batches and devices.

        `units` are those of the whole global batch, by which sums are divided.
        """

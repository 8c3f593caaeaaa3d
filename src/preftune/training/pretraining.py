"""Pre-training of a language model: cross-entropy of every token of the blocks of a corpus."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from preftune.data.corpus import Blocks
from preftune.training.batches import TOKENS_PER_PASS, split_by_tokens
from preftune.training.objective import Logged
from preftune.training.reader import TreeReader


@dataclass(frozen=True)
class Block:
    """A block, by its index: its tokens are read from the disk by the process that computes on them."""

    index: int
    tokens: int

    @property
    def name(self) -> str:
        """For messages."""
        return f"block {self.index}"


class PretrainingObjective:
    """Mean negative log-likelihood of the global batch's tokens, in nats."""

    def __init__(self, reader: TreeReader, blocks: Blocks) -> None:
        self.reader = reader
        self.blocks = blocks

    def __len__(self) -> int:
        return len(self.blocks)

    def draw(self, index: int, step: int) -> Block:
        """The block itself."""
        return Block(index, self.blocks.block)

    def units(self, example: Block) -> int:
        """Predicted tokens: as many as are read."""
        return example.tokens

    def split(self, examples: Sequence[Block], budget: int) -> list[list[int]]:
        """Blocks side by side in one row."""
        return split_by_tokens([example.tokens for example in examples], budget)

    def loss(self, examples: Sequence[Block], units: int) -> tuple[Tensor, Logged]:
        """This micro-batch's part of the mean."""
        nll = block_nll(self.reader, self.blocks, [example.index for example in examples])
        return nll.sum() / units, {}


def block_nll(reader: TreeReader, blocks: Blocks, indices: Sequence[int]) -> Tensor:
    """Negative log-likelihood of every token of some blocks given those before it in its block, nats in fp32 [tokens]."""
    layout = reader.layout([blocks[index] for index in indices])
    logps, _ = reader.log_probabilities(reader.states(layout), layout)
    return -logps


@torch.no_grad()
def perplexity(reader: TreeReader, blocks: Blocks, tokens_per_pass: int | None = None) -> float:
    """exp(all nats / all tokens) of all blocks."""
    budget = tokens_per_pass or TOKENS_PER_PASS[reader.model.device.type]
    total = 0.0
    for group in split_by_tokens([blocks.block] * len(blocks), budget):
        total += float(block_nll(reader, blocks, group).double().sum())
    return math.exp(total / (len(blocks) * blocks.block))


def decay_groups(model: nn.Module) -> list[dict[str, object]]:
    """Parameter groups of what trains: weight decay is for matrices, not for biases and the scales of norms."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trained if parameter.dim() > 1]
    others = [parameter for parameter in trained if parameter.dim() <= 1]
    return [{"params": matrices}, {"params": others, "decay": 0.0}]

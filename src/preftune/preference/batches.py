"""Rows of prompt and completion ids, and the right-padded batches made of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Completion:
    """One row: the ids of a prompt and of the completion that follows it, its `<|im_end|>` included."""

    prompt_ids: Sequence[int]
    completion_ids: Sequence[int]

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.completion_ids)


@dataclass(frozen=True)
class CompletionBatch:
    """Right-padded rows: ids, attention mask (1 at real tokens) and completion mask, each `[rows, seq]`."""

    input_ids: Tensor
    attention_mask: Tensor
    completion_mask: Tensor


def collate_completions(
    rows: Sequence[Completion], pad_id: int, device: torch.device | str = "cpu"
) -> CompletionBatch:
    """Stack rows into a batch `[rows, longest row]`, padded on the right with `pad_id`."""
    width = max(len(row) for row in rows)
    input_ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    attention_mask = torch.zeros((len(rows), width), dtype=torch.long)
    completion_mask = torch.zeros((len(rows), width), dtype=torch.bool)
    for i, row in enumerate(rows):
        input_ids[i, : len(row)] = torch.tensor([*row.prompt_ids, *row.completion_ids])
        attention_mask[i, : len(row)] = 1
        completion_mask[i, len(row.prompt_ids) : len(row)] = True
    return CompletionBatch(input_ids.to(device), attention_mask.to(device), completion_mask.to(device))


def length_sorted_batches(lengths: Sequence[int], batch: int) -> list[list[int]]:
    """Indices in batches of at most `batch`, longest rows first: little padding, and memory peaks early."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    return [order[start : start + batch] for start in range(0, len(order), batch)]

"""Layouts: how trees lie in the rows that a model reads, and where their results are found.

Packed, the trees of a batch lie one after another in a single row: each prompt once, then its branches, positions
restarting after the prompt for every branch. Padded, every branch is a row of its own behind its own copy of the
prompt: the form of a model that cannot be packed. Both give the same numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from preftune.errors import PreftuneError
from preftune.training.trees import Ids, Tree


@dataclass(frozen=True)
class Span:
    """One tree in a packed row: where it starts and how many positions its prompt and each branch take."""

    start: int
    prompt: int
    branches: tuple[int, ...]

    @property
    def stop(self) -> int:
        """The position after the tree's last one."""
        return self.start + self.prompt + sum(self.branches)


@dataclass(frozen=True)
class Layout:
    """Inputs of one forward pass and the places of its results; every index is into the flattened [rows * seq].

    input_ids, position_ids [rows, seq]; attention_mask [rows, seq] (padded) or None (packed); spans of the trees
    (packed) or None. For each branch token, in order: its id in `targets` [tokens], its branch in `branch` [tokens],
    and in `predictor` [tokens] which of the positions `predictors` [unique] predicts it: the last one of a prompt
    predicts the first token of every branch. `markers` [branches]: the position that the reward heads read. `starts`
    [copies]: where each copy of a prompt starts, and `tree` [copies]: whose prompt it is.
    """

    input_ids: Tensor
    position_ids: Tensor
    attention_mask: Tensor | None
    spans: tuple[Span, ...] | None
    predictors: Tensor
    predictor: Tensor
    targets: Tensor
    branch: Tensor
    branches: int
    markers: Tensor | None
    starts: Tensor
    tree: Tensor

    def to(self, device: torch.device) -> "Layout":
        """The layout with its tensors on `device`."""
        tensors: dict[str, Any] = {k: v for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **{name: value.to(device, non_blocking=True) for name, value in tensors.items()})

    def sum_by_branch(self, values: Tensor) -> Tensor:
        """Sums [branches] of per-token values [tokens]."""
        return values.new_zeros(self.branches).index_add(0, self.branch, values)

    @property
    def last_tokens(self) -> Tensor:
        """Place of each branch's last token among the branch tokens [branches]."""
        return torch.bincount(self.branch, minlength=self.branches).cumsum(0) - 1


class _Places:
    """Collects what a layout says about its branch tokens."""

    def __init__(self, trees: Sequence[Tree], marker: int | None) -> None:
        self.marker = marker
        self.predictors: list[np.ndarray] = []
        self.predictor: list[np.ndarray] = []
        self.markers: list[int] = []
        self.starts: list[int] = []
        self.trees: list[int] = []
        self.branches: list[Ids] = [branch for tree in trees for branch in tree.branches]
        self._unique = 0

    def read(self, branch: Ids) -> Ids:
        """The part of a branch that the model must read: its last target is only a target, unless a head reads on."""
        return branch if self.marker is not None else branch[:-1]

    def add_prompt(self, number: int, start: int, length: int) -> int:
        """A copy of the prompt of tree `number`; returns the place of its last position among the predictors."""
        self.starts.append(start)
        self.trees.append(number)
        self.predictors.append(np.array([start + length - 1]))
        self._unique += 1
        return self._unique - 1

    def add_branch(self, tree: Tree, branch: Ids, first: int, start: int) -> None:
        """A branch whose tokens lie at start, start + 1, ... and whose first token the predictor `first` predicts."""
        inner = len(branch) - 1
        self.predictors.append(np.arange(start, start + inner))
        self.predictor.append(np.array([first, *range(self._unique, self._unique + inner)]))
        self._unique += inner
        if self.marker is not None:
            place = _last_index(branch, self.marker)
            if place is None:
                raise PreftuneError(
                    f"example {tree.name}: a branch holds no <|im_end|> (id {self.marker}), so it has no reward; "
                    "append it to the answer and do not truncate it away."
                )
            self.markers.append(start + place)

    def finish(
        self,
        input_ids: np.ndarray,
        position_ids: np.ndarray,
        mask: np.ndarray | None,
        spans: tuple[Span, ...] | None,
    ) -> Layout:
        """The layout of these rows."""
        sizes = [len(branch) for branch in self.branches]
        targets = [np.asarray(branch) for branch in self.branches]
        return Layout(
            input_ids=torch.from_numpy(input_ids),
            position_ids=torch.from_numpy(position_ids),
            attention_mask=None if mask is None else torch.from_numpy(mask),
            spans=spans,
            predictors=torch.from_numpy(np.concatenate(self.predictors)),
            predictor=torch.from_numpy(np.concatenate(self.predictor)),
            targets=torch.from_numpy(np.concatenate(targets)).long(),
            branch=torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)),
            branches=len(sizes),
            markers=None if self.marker is None else torch.tensor(self.markers),
            starts=torch.tensor(self.starts),
            tree=torch.tensor(self.trees),
        )


def pack(trees: Sequence[Tree], marker: int | None = None, fill: int | None = None) -> Layout:
    """One row [1, seq] of whole trees.

    Args:
        marker: the id at whose last occurrence in each branch the reward heads read; None: no head reads.
        fill: the row is filled with unread tokens to a multiple of this length (compiled kernels want few shapes); None:
            no filling.

    Raises:
        PreftuneError: `marker` is given and a branch does not hold it.
    """
    places = _Places(trees, marker)
    spans, ids, positions, start = [], [], [], 0
    for number, tree in enumerate(trees):
        read = [places.read(branch) for branch in tree.branches]
        prompt = len(tree.prompt)
        spans.append(Span(start, prompt, tuple(map(len, read))))
        ids += [np.asarray(part) for part in (tree.prompt, *read)]
        positions += [np.arange(prompt), *(np.arange(prompt, prompt + len(part)) for part in read)]
        first = places.add_prompt(number, start, prompt)
        place = start + prompt
        for branch, part in zip(tree.branches, read, strict=True):
            places.add_branch(tree, branch, first, place)
            place += len(part)
        start = place
    if fill is not None:
        unread = np.zeros(-start % fill, dtype=np.int64)
        ids.append(unread)
        positions.append(unread)
    row, steps = (np.concatenate(parts).astype(np.int64)[None] for parts in (ids, positions))
    return places.finish(row, steps, None, tuple(spans))


def pad(trees: Sequence[Tree], marker: int | None = None) -> Layout:
    """A row for every branch [branches, seq], each behind a copy of its prompt, padded on the right; see `pack`."""
    places = _Places(trees, marker)
    rows = [
        (number, tree, branch, places.read(branch))
        for number, tree in enumerate(trees)
        for branch in tree.branches
    ]
    width = max(len(tree.prompt) + len(part) for _, tree, _, part in rows)
    ids, mask = np.zeros((len(rows), width), dtype=np.int64), np.zeros((len(rows), width), dtype=np.int64)
    for row, (number, tree, branch, part) in enumerate(rows):
        prompt = len(tree.prompt)
        ids[row, :prompt] = tree.prompt
        ids[row, prompt : prompt + len(part)] = part
        mask[row, : prompt + len(part)] = 1
        first = places.add_prompt(number, row * width, prompt)
        places.add_branch(tree, branch, first, row * width + prompt)
    steps = np.broadcast_to(np.arange(width), ids.shape).copy()
    return places.finish(ids, steps, mask, None)


def _last_index(ids: Ids, wanted: int) -> int | None:
    return next((place for place in range(len(ids) - 1, -1, -1) if ids[place] == wanted), None)

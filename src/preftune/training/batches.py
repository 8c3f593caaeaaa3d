"""Which examples a step sees, which of them each process takes, and how they share forward passes."""

from bisect import bisect_left, insort
from collections.abc import Sequence

import numpy as np

from preftune.errors import PreftuneError

TOKENS_PER_PASS = {"cpu": 4096, "cuda": 32768}
"""Positions of one packed row, by device type: enough to keep the device busy, few enough to fit."""


def epoch_order(count: int, batch: int, steps: int, seed: int) -> list[list[int]]:
    """Indices of each step's examples: a fresh seeded permutation per epoch, cut into full batches, cycled."""
    if count < 1:
        raise PreftuneError(
            "The training data hold no example: check the mix's counts of skipped and dropped rows."
        )
    generator = np.random.default_rng(seed)
    stream: list[int] = []
    while len(stream) < batch * steps:
        stream.extend(int(index) for index in generator.permutation(count))
    return [stream[step * batch : (step + 1) * batch] for step in range(steps)]


def share_of_rank(lengths: Sequence[int], rank: int, world_size: int) -> list[int]:
    """Places of the examples that one process takes: equally many for each, dealt by length so that all have alike
    much to do.

    Raises:
        PreftuneError: the batch does not divide by the number of processes.
    """
    if len(lengths) % world_size:
        raise PreftuneError(
            f"A batch of {len(lengths)} cannot be shared equally by {world_size} processes: choose a batch that is a "
            f"multiple of {world_size}, or another number of devices."
        )
    order = _longest_first(lengths)
    rounds = [order[start : start + world_size] for start in range(0, len(order), world_size)]
    # Every other round is dealt backwards: the process that got the longer one now gets the shorter one.
    return [dealt[rank] if turn % 2 == 0 else dealt[-1 - rank] for turn, dealt in enumerate(rounds)]


def split_by_tokens(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Places of examples in groups of at most `budget` tokens: the longest first, each into the fullest group that it
    fits into (best-fit decreasing).

    An example longer than the budget is a group of its own.
    """
    groups: list[list[int]] = []
    rooms: list[
        tuple[int, int]
    ] = []  # room left and number of the groups that could still take something, sorted
    shortest = min(lengths, default=0)
    for place in _longest_first(lengths):
        found = bisect_left(rooms, (lengths[place], -1))
        room, group = rooms.pop(found) if found < len(rooms) else (budget, len(groups))
        if group == len(groups):
            groups.append([])
        groups[group].append(place)
        if (left := room - lengths[place]) >= shortest:
            insort(rooms, (left, group))
    return groups


def split_by_area(sizes: Sequence[tuple[int, int]], budget: int) -> list[list[int]]:
    """Places of examples in padded batches of at most `budget` positions; an example is (rows, length of the longest).

    Neighbours by length share a batch, so that little is padded. An example larger than the budget is one of its own.
    """
    groups: list[list[int]] = []
    rows = width = 0
    for place in _longest_first([length for _, length in sizes]):
        own, length = sizes[place]
        if groups and (rows + own) * width <= budget:
            groups[-1].append(place)
            rows += own
        else:
            groups.append([place])
            rows, width = own, length
    return groups


def _longest_first(lengths: Sequence[int]) -> list[int]:
    return sorted(range(len(lengths)), key=lambda place: (-lengths[place], place))

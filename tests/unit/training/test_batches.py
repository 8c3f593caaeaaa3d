"""Order of the examples, shares of the processes, and micro-batches under a token budget."""

import random
from collections import Counter
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preftune.errors import PreftuneError
from preftune.training.batches import epoch_order, share_of_rank, split_by_area, split_by_tokens

LENGTHS = st.lists(st.integers(1, 60), max_size=40)
quickly = settings(deadline=None, max_examples=100, derandomize=True, database=None)


def loads(groups: list[list[int]], lengths: list[int]) -> list[list[int]]:
    return [[lengths[place] for place in group] for group in groups]


@pytest.mark.parametrize(
    ("count", "batch", "steps"), [(10, 3, 10), (10, 5, 6), (4, 4, 3), (3, 8, 3), (1, 2, 2), (7, 2, 1)]
)
def test_epochs_are_permutations_in_full_batches(count: int, batch: int, steps: int) -> None:
    """Batches are full even where an epoch ends inside one, and no example comes twice before all came once."""
    order = epoch_order(count, batch, steps, seed=0)
    assert [len(indices) for indices in order] == [batch] * steps
    stream = list(chain(*order))
    epochs = [stream[start : start + count] for start in range(0, len(stream), count)]
    for epoch in epochs:
        assert len(set(epoch)) == len(epoch) and set(epoch) <= set(range(count))


def test_epochs_differ_from_each_other() -> None:
    """Each epoch is a fresh permutation, and none is the order of the file."""
    epochs = epoch_order(50, 50, 4, seed=3)
    assert len({tuple(epoch) for epoch in [*epochs, list(range(50))]}) == 5


def test_order_follows_from_the_seed_alone() -> None:
    """Equal seeds give equal orders, other seeds others; a longer training only goes on."""
    order = epoch_order(20, 6, 9, seed=1)
    assert order == epoch_order(20, 6, 9, seed=1)
    assert order != epoch_order(20, 6, 9, seed=2)
    assert order == epoch_order(20, 6, 12, seed=1)[:9]


@pytest.mark.parametrize("steps", [1, 5])
def test_no_data_is_refused(steps: int) -> None:
    with pytest.raises(PreftuneError, match="hold no example"):
        epoch_order(0, 2, steps, seed=0)


@quickly
@given(data=st.data(), world_size=st.integers(1, 5), rounds=st.integers(1, 8))
def test_shares_are_disjoint_complete_and_balanced(data: st.DataObject, world_size: int, rounds: int) -> None:
    """Dealing back and forth leaves two processes apart by at most the longest example less the shortest."""
    size = world_size * rounds
    lengths = data.draw(st.lists(st.integers(1, 1000), min_size=size, max_size=size))
    shares = [share_of_rank(lengths, rank, world_size) for rank in range(world_size)]
    assert [len(share) for share in shares] == [rounds] * world_size
    assert sorted(chain(*shares)) == list(range(size))
    sums = [sum(lengths[place] for place in share) for share in shares]
    assert max(sums) - min(sums) <= max(lengths) - min(lengths)


def test_shares_by_hand() -> None:
    """Longest first, the second round backwards; equal lengths keep their order."""
    assert [share_of_rank([4, 9, 1, 9], rank, 2) for rank in (0, 1)] == [[1, 2], [3, 0]]
    assert share_of_rank([], 1, 2) == []


@pytest.mark.parametrize(("size", "world_size"), [(3, 2), (7, 4), (1, 8)])
def test_a_batch_that_does_not_divide_is_refused(size: int, world_size: int) -> None:
    with pytest.raises(PreftuneError, match=f"batch of {size} cannot be shared equally by {world_size}"):
        share_of_rank([1] * size, 0, world_size)


@quickly
@given(lengths=LENGTHS, budget=st.integers(1, 80))
def test_groups_are_a_partition_within_the_budget(lengths: list[int], budget: int) -> None:
    groups = split_by_tokens(lengths, budget)
    assert sorted(chain(*groups)) == list(range(len(lengths)))
    assert all(groups) and groups == split_by_tokens(lengths, budget)
    assert all(sum(load) <= budget or len(load) == 1 for load in loads(groups, lengths))


@quickly
@given(lengths=LENGTHS, budget=st.integers(1, 80))
def test_groups_are_few(lengths: list[int], budget: int) -> None:
    """No two groups would fit into one, so there are at most twice as many as the tokens need, and one."""
    groups = split_by_tokens(lengths, budget)
    sums = sorted(sum(load) for load in loads(groups, lengths))
    assert len(sums) < 2 or sums[0] + sums[1] > budget
    assert len(groups) <= 2 * -(-sum(lengths) // budget) + 1


@quickly
@given(lengths=LENGTHS, budget=st.integers(1, 80), data=st.data())
def test_groups_do_not_depend_on_the_order_of_the_examples(
    lengths: list[int], budget: int, data: st.DataObject
) -> None:
    """Only the lengths count: shuffled, or counted in another unit, they are grouped alike."""
    found = loads(split_by_tokens(lengths, budget), lengths)
    shuffled = data.draw(st.permutations(lengths))
    assert found == loads(split_by_tokens(shuffled, budget), shuffled)
    assert split_by_tokens([7 * length for length in lengths], 7 * budget) == split_by_tokens(lengths, budget)


@pytest.mark.parametrize(
    ("lengths", "budget", "expected"),
    [
        ([], 5, []),
        ([3, 3, 3], 9, [[0, 1, 2]]),  # the budget itself may be used up
        ([2, 9, 3], 5, [[1], [2, 0]]),  # longer than the budget: alone, and first
        ([5, 4, 3, 2], 7, [[0, 3], [1, 2]]),  # the first group with room, not the newest
        ([4, 4, 4], 1, [[0], [1], [2]]),
    ],
)
def test_groups_by_hand(lengths: list[int], budget: int, expected: list[list[int]]) -> None:
    assert split_by_tokens(lengths, budget) == expected


@pytest.mark.parametrize("longest", [700, 300, 60])
def test_many_examples_are_few_groups_too(longest: int) -> None:
    """A thousand groups, more than are looked at for each example: the bound holds all the same."""
    budget, generator = 1000, random.Random(longest)
    lengths = [generator.randint(1, longest) for _ in range(2_000_000 // longest)]
    groups = split_by_tokens(lengths, budget)
    assert sorted(chain(*groups)) == list(range(len(lengths)))
    assert max(map(sum, loads(groups, lengths))) <= budget
    assert len(groups) <= 2 * -(-sum(lengths) // budget) + 1


def test_equal_lengths_fill_their_groups() -> None:
    """10,000 alike are as many full groups as can be."""
    assert Counter(map(len, split_by_tokens([64] * 10_000, 640))) == {10: 1000}


@settings(deadline=None, max_examples=100, derandomize=True, database=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 60)), max_size=40), budget=st.integers(1, 200)
)
def test_padded_batches_hold_their_padding_too(sizes: list[tuple[int, int]], budget: int) -> None:
    """Rows times the widest one, so a long example never drags a hundred short ones to its length."""
    groups = split_by_area(sizes, budget)
    assert sorted(place for group in groups for place in group) == list(range(len(sizes)))
    for group in groups:
        rows, width = sum(sizes[place][0] for place in group), max(sizes[place][1] for place in group)
        assert len(group) == 1 or rows * width <= budget
    assert len(split_by_area([(1, 2000)] + [(1, 20)] * 104, 4096)) == 2

"""Trees, their layouts in rows, and who sees whom in a packed row."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask

from preftune.errors import PreftuneError
from preftune.training.attention import (
    CannotPackError,
    TreeAttention,
    attend,
    attend_by_flex,
    attend_by_loop,
    make_block_mask,
    tree_mask,
)
from preftune.training.packing import Layout, Span, pack, pad
from preftune.training.trees import Tree, fit_to_context

MARKER = 2
CPU = torch.device("cpu")
A = Tree("a", [11, 12, 13], ([21, 22, 23], [31]))
B = Tree("b", [14], ([41, 42],))
MARKED = [
    Tree("a", [MARKER, 7], ([MARKER, 8, MARKER, 9], [6, MARKER])),
    Tree("b", [5], ([MARKER],)),
]

examples = settings(max_examples=40, deadline=None, derandomize=True, database=None)
tokens = st.lists(st.integers(3, 99), min_size=1, max_size=5)
tree_lists = st.lists(
    st.builds(Tree, st.just("t"), tokens, st.lists(tokens, min_size=1, max_size=4).map(tuple)),
    min_size=1,
    max_size=4,
)
shapes = st.tuples(st.integers(1, 5), st.lists(st.integers(0, 5), min_size=1, max_size=5).map(tuple))


def spans_of(shapes: list[tuple[int, tuple[int, ...]]]) -> tuple[Span, ...]:
    """Spans one after another of trees of these lengths (prompt, branches)."""
    spans: list[Span] = []
    for prompt, branches in shapes:
        spans.append(Span(spans[-1].stop if spans else 0, prompt, branches))
    return tuple(spans)


def expected_mask(spans: tuple[Span, ...], length: int) -> Tensor:
    """By the definition: a query sees the keys that come before it on some path through both, and itself."""
    mask = torch.eye(length, dtype=torch.bool)
    for span in spans:
        prompt = list(range(span.start, span.start + span.prompt))
        place = span.start + span.prompt
        for size in span.branches:
            path = [*prompt, *range(place, place + size)]
            place += size
            for i, query in enumerate(path):
                mask[query, path[:i]] = True
    return mask


def read_back(layout: Layout) -> list[tuple[int, int, int, int]]:
    """Of every branch token: id and position of its predictor, the token itself, its branch."""
    places = layout.predictors[layout.predictor]
    columns = (layout.input_ids, layout.position_ids)
    found = [column.flatten()[places].tolist() for column in columns]
    return list(zip(*found, layout.targets.tolist(), layout.branch.tolist(), strict=True))


def expected_tokens(trees: list[Tree]) -> list[tuple[int, int, int, int]]:
    """As `read_back`, from each path as one list of ids."""
    branches = [(tree, branch) for tree in trees for branch in tree.branches]
    return [
        (path[place - 1], place - 1, path[place], number)
        for number, (tree, branch) in enumerate(branches)
        for path in [[*tree.prompt, *branch]]
        for place in range(len(tree.prompt), len(path))
    ]


def test_packed_row() -> None:
    """Positions restart for every branch; the last token of a branch is a target alone, and not in the row."""
    layout = pack([A, B])
    assert layout.input_ids.tolist() == [[11, 12, 13, 21, 22, 14, 41]]
    assert layout.position_ids.tolist() == [[0, 1, 2, 3, 4, 0, 1]]
    assert layout.attention_mask is None and layout.markers is None
    assert layout.spans == (Span(0, 3, (2, 0)), Span(5, 1, (1,)))
    assert [span.stop for span in layout.spans] == [5, 7]
    assert layout.predictors.tolist() == [2, 3, 4, 5, 6]
    assert layout.predictor.tolist() == [0, 1, 2, 0, 3, 4]
    assert layout.targets.tolist() == [21, 22, 23, 31, 41, 42]
    assert layout.branch.tolist() == [0, 0, 0, 1, 2, 2] and layout.branches == 3
    assert layout.starts.tolist() == [0, 5] and layout.tree.tolist() == [0, 1]


def test_padded_rows() -> None:
    """Every branch behind its own copy of the prompt, whose last position is a predictor of its own."""
    layout = pad([A, B])
    assert layout.input_ids.tolist() == [[11, 12, 13, 21, 22], [11, 12, 13, 0, 0], [14, 41, 0, 0, 0]]
    assert layout.attention_mask.tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]]
    assert layout.position_ids.tolist() == [[0, 1, 2, 3, 4]] * 3
    assert layout.spans is None and layout.markers is None
    assert layout.predictors.tolist() == [2, 3, 4, 7, 10, 11]
    assert layout.predictor.tolist() == [0, 1, 2, 3, 4, 5]
    assert layout.targets.tolist() == [21, 22, 23, 31, 41, 42]
    assert layout.branch.tolist() == [0, 0, 0, 1, 2, 2] and layout.branches == 3
    assert layout.starts.tolist() == [0, 5, 10] and layout.tree.tolist() == [0, 0, 1]


@pytest.mark.parametrize("make", [pack, pad])
@pytest.mark.parametrize("marker", [None, MARKER])
@examples
@given(trees=tree_lists)
def test_every_token_has_its_predictor(make, marker: int | None, trees: list[Tree]) -> None:
    """The position before it on its path; prompts lie whole at their starts; a marker does not change that."""
    if marker is not None:
        trees = [
            Tree(t.name, t.prompt, tuple([*branch, marker, *branch[:1]] for branch in t.branches))
            for t in trees
        ]
    layout = make(trees, marker)
    assert read_back(layout) == expected_tokens(trees)
    ids = layout.input_ids.flatten().tolist()
    for start, number in zip(layout.starts.tolist(), layout.tree.tolist(), strict=True):
        assert ids[start : start + len(trees[number].prompt)] == list(trees[number].prompt)
    if make is pack and marker is not None:
        assert layout.input_ids.shape == (1, sum(tree.tokens for tree in trees))


@pytest.mark.parametrize("make", [pack, pad])
@pytest.mark.parametrize("marker", [None, MARKER])
def test_last_tokens(make, marker: int | None) -> None:
    """Of each branch, among all branch tokens: the closing `<|im_end|>` of an answer."""
    trees = [A, B] if marker is None else MARKED
    layout = make(trees, marker)
    assert layout.targets[layout.last_tokens].tolist() == [
        branch[-1] for tree in trees for branch in tree.branches
    ]
    assert layout.branch[layout.last_tokens].tolist() == list(range(layout.branches))


@pytest.mark.parametrize(
    ("make", "markers", "positions"), [(pack, [4, 7, 9], [4, 3, 1]), (pad, [4, 9, 13], [4, 3, 1])]
)
def test_marker_is_the_last_occurrence(make, markers: list[int], positions: list[int]) -> None:
    """With a marker the last token of a branch is read too, or a head could not read at it."""
    layout = make(MARKED, MARKER)
    assert layout.markers.tolist() == markers
    assert (layout.input_ids.flatten()[layout.markers] == MARKER).all()
    assert layout.position_ids.flatten()[layout.markers].tolist() == positions
    assert 9 in layout.input_ids


@pytest.mark.parametrize("make", [pack, pad])
def test_a_branch_without_marker_is_refused(make) -> None:
    """A marker in the prompt does not count."""
    trees = [*MARKED, Tree("late", [MARKER], ([MARKER], [7]))]
    with pytest.raises(PreftuneError, match=r"example late: a branch holds no <\|im_end\|> \(id 2\)"):
        make(trees, MARKER)


@pytest.mark.parametrize(("fill", "length"), [(1, 7), (7, 7), (8, 8), (3, 9), (16, 16)])
def test_fill(fill: int, length: int) -> None:
    """Up to a multiple, with tokens that no result refers to."""
    plain, filled = pack([A, B]), pack([A, B], fill=fill)
    assert filled.input_ids.shape == filled.position_ids.shape == (1, length)
    assert torch.equal(filled.input_ids[:, :7], plain.input_ids) and not filled.input_ids[:, 7:].any()
    assert torch.equal(filled.position_ids[:, :7], plain.position_ids)
    assert filled.spans == plain.spans and read_back(filled) == read_back(plain)


def test_sum_by_branch() -> None:
    values = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
    assert pack([A, B]).sum_by_branch(values).tolist() == [7.0, 8.0, 48.0]


def test_sizes_of_a_tree() -> None:
    assert (A.tokens, A.longest) == (7, 6)


@pytest.mark.parametrize(
    ("prompt", "branches", "message"),
    [
        ([], ([1],), "example x-7 has an empty prompt"),
        ([1], ([1], []), "example x-7: branch 1 is empty"),
    ],
)
def test_empty_parts_are_refused(prompt: list[int], branches: tuple[list[int], ...], message: str) -> None:
    with pytest.raises(PreftuneError, match=message):
        Tree("x-7", prompt, branches)


def test_long_trees_are_refused() -> None:
    """The longest path counts, not the tree; a path of exactly the context fits."""
    assert fit_to_context([A, B], 6, "refuse") == ([A, B], 0)
    with pytest.raises(PreftuneError, match="example a has 6 tokens but the context holds 5"):
        fit_to_context([B, A], 5, "refuse")


def test_long_prompts_lose_their_oldest_tokens() -> None:
    """Answers are never cut; one that leaves no room for a prompt is an error."""
    fitted, cut = fit_to_context([A, B, A], 4, "truncate")
    shorter = Tree("a", [13], A.branches)
    assert (fitted, cut) == ([shorter, B, shorter], 2)
    with pytest.raises(
        PreftuneError, match="example a: an answer of 3 tokens leaves no room for a prompt in a context of 3"
    ):
        fit_to_context([A], 3, "truncate")


@examples
@given(shape=shapes, start=st.integers(0, 3))
def test_tree_mask(shape: tuple[int, tuple[int, ...]], start: int) -> None:
    """Where the tree lies in its row does not matter."""
    (span,) = spans_of([shape])
    assert torch.equal(tree_mask(Span(start, *shape)), expected_mask((span,), span.stop))


def whole_mask(mask: BlockMask, length: int) -> Tensor:
    """What the block mask lets through, entry by entry."""
    order, none = torch.arange(length), torch.tensor(0)
    return mask.mask_mod(none, none, order[:, None], order[None, :])


@examples
@given(lengths=st.lists(shapes, min_size=1, max_size=4), rest=st.integers(0, 3))
def test_block_mask_entries(lengths: list[tuple[int, tuple[int, ...]]], rest: int) -> None:
    """On a whole row the trees' masks on the diagonal, and the tail sees itself alone."""
    spans = spans_of(lengths)
    length = spans[-1].stop + rest
    found = whole_mask(make_block_mask(spans, length, CPU), length)
    assert torch.equal(found, expected_mask(spans, length))
    blocks = [tree_mask(span) for span in spans]
    assert torch.equal(found, torch.block_diag(*blocks, torch.eye(rest)).bool())


def test_block_mask_skips_blocks() -> None:
    """Blocks of 128 that hold nothing to see are left out, all others are computed."""
    spans = spans_of([(100, (60, 0, 140)), (150, (20,))])
    dense = expected_mask(spans, 512)
    blocks = dense.unfold(0, 128, 128).unfold(1, 128, 128).flatten(2).any(dim=2)
    found = make_block_mask(spans, 512, CPU).to_dense()[0, 0].bool()
    assert torch.equal(found, blocks) and not found.tril().equal(torch.ones(4, 4).tril().bool())


ROWS = {
    "one branch each": ([(4, (3,)), (2, (5,))], 0),
    "several, some without a token to read": ([(3, (0, 2, 0, 4)), (1, (0,)), (2, (3, 1))], 0),
    "equal branches, unequal prompts": ([(3, (2, 1, 4)), (5, (2, 1, 4))], 0),
    "filled": ([(3, (2, 2)), (5, (1,))], 7),
    "more than one group": ([(5, (3, 50, 60, 100, 2, 1, 0, 1)), (9, (4, 40, 40, 40))], 3),
}


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_both_backends_compute_the_definition(
    row: tuple[list[tuple[int, tuple[int, ...]]], int], kv_heads: int
) -> None:
    """Against one dense product under the mask; 1e-5: fp32 sums in another order. What fills the row is not seen."""
    lengths, rest = row
    spans = spans_of(lengths)
    stop, length = spans[-1].stop, spans[-1].stop + rest
    generator = torch.Generator().manual_seed(0)
    query, key, value = (
        2 * torch.randn(1, heads, length, 16, generator=generator) for heads in (4, kv_heads, kv_heads)
    )
    repeated = [x.repeat_interleave(4 // kv_heads, dim=1) for x in (key, value)]
    wanted = F.scaled_dot_product_attention(
        query, *repeated, attn_mask=expected_mask(spans, length), scale=0.3
    )[:, :, :stop]
    loop = attend_by_loop(query, key, value, TreeAttention(spans), 0.3, 0.0)
    flex_trees = TreeAttention(spans, make_block_mask(spans, length, CPU))
    flex = attend_by_flex(query, key, value, flex_trees, 0.3, 0.0)
    assert loop.shape == flex.shape == query.shape
    torch.testing.assert_close(loop[:, :, :stop], wanted, atol=1e-5, rtol=0)
    torch.testing.assert_close(flex[:, :, :stop], wanted, atol=1e-5, rtol=0)
    if rest:
        key[:, :, stop:], value[:, :, stop:] = 50.0, 1e4
        again = attend_by_flex(query, key, value, flex_trees, 0.3, 0.0)
        assert torch.equal(again[:, :, :stop], flex[:, :, :stop])
        assert torch.equal(attend_by_loop(query, key, value, TreeAttention(spans), 0.3, 0.0), loop)


@pytest.mark.parametrize(
    "others", [{"sliding_window": 4}, {"softcap": 50.0}, {"s_aux": torch.zeros(2)}, {"position_bias": 1}]
)
def test_what_it_does_not_compute_is_refused(others: dict[str, object]) -> None:
    states = torch.zeros(1, 2, 5, 4)
    trees = TreeAttention(spans_of([(3, (2,))]))
    module = torch.nn.Module()
    attended, _ = attend(module, states, states, states, None, trees=trees, **dict.fromkeys(others))
    assert attended.shape == (1, 5, 2, 4)
    with pytest.raises(CannotPackError, match=next(iter(others))):
        attend(module, states, states, states, None, trees=trees, **others)


@pytest.mark.parametrize("rows, keys, mask", [(2, 5, None), (1, 6, None), (1, 5, torch.zeros(1, 1, 5, 5))])
def test_masks_caches_and_several_rows_are_refused(rows: int, keys: int, mask: Tensor | None) -> None:
    query, key = torch.zeros(rows, 2, 5, 4), torch.zeros(rows, 2, keys, 4)
    with pytest.raises(CannotPackError, match="this mask or cache"):
        attend(torch.nn.Module(), query, key, key, mask, trees=TreeAttention(spans_of([(3, (2,))])))


def test_flex_refuses_dropout() -> None:
    states = torch.zeros(1, 2, 5, 4)
    with pytest.raises(PreftuneError, match="set attention_dropout to 0"):
        attend_by_flex(states, states, states, TreeAttention(spans_of([(3, (2,))])), None, 0.1)

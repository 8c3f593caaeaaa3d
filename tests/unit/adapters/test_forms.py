"""The forms of Context-LoRA agree with the paper's algorithm 1, in value and in every gradient."""

import itertools

import pytest
import torch
from torch import Tensor

from preftune.adapters.forms import lora_by_einsum, lora_by_mask, lora_by_part

ROWS, LENGTH, WIDTH, OUT, RANK = 3, 7, 5, 6, 2
SCALES = (1.0, 0.5)
SPANS = (((1, 4),), ((0, 1), (4, 7)))  # image; BOS and caption


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def selection(overlap: bool) -> Tensor:
    """S [rows, length, groups]; with `overlap` the second group is on everywhere."""
    s = torch.zeros(ROWS, LENGTH, 2, dtype=torch.float64)
    for group, spans in enumerate(SPANS):
        for start, stop in spans:
            s[:, start:stop, group] = 1
    if overlap:
        s[..., 1] = 1
    return s


@pytest.mark.parametrize(("overlap", "bias"), itertools.product([False, True], [False, True]))
def test_forms_agree(overlap: bool, bias: bool) -> None:
    torch.manual_seed(0)
    x, weight = draw(ROWS, LENGTH, WIDTH), draw(OUT, WIDTH).detach()
    b0 = torch.randn(OUT, dtype=torch.float64) if bias else None
    a, b = [draw(RANK, WIDTH) for _ in SCALES], [draw(OUT, RANK) for _ in SCALES]
    s = selection(overlap)
    spans = (SPANS[0], ((0, LENGTH),)) if overlap else SPANS
    scale = torch.tensor(SCALES, dtype=torch.float64)

    def reference() -> Tensor:
        update = lora_by_einsum(
            x, torch.stack([one.t() for one in a]), torch.stack([one.t() for one in b]), s * scale
        )
        return torch.nn.functional.linear(x, weight, b0) + update

    def by_mask() -> Tensor:
        wide = (s * scale).flatten(0, 1).repeat_interleave(RANK, dim=1)
        pairs = list(zip(a, b, strict=True))
        return lora_by_mask(x.flatten(0, 1), weight, b0, pairs, wide).view(ROWS, LENGTH, OUT)

    def by_slice() -> Tensor:
        return lora_by_part(x, weight, b0, list(zip(a, b, SCALES, spans, strict=True)))

    def by_gather() -> Tensor:
        places = [(column.flatten().nonzero().flatten(),) for column in s.unbind(dim=-1)]
        groups = list(zip(a, b, SCALES, places, strict=True))
        return lora_by_part(x.flatten(0, 1), weight, b0, groups).view(ROWS, LENGTH, OUT)

    wanted = reference()
    direction = torch.randn_like(wanted)
    gradients = torch.autograd.grad((wanted * direction).sum(), [x, *a, *b])
    for form in (by_mask, by_slice, by_gather):
        found = form()
        torch.testing.assert_close(found, wanted)
        torch.testing.assert_close(torch.autograd.grad((found * direction).sum(), [x, *a, *b]), gradients)


def test_gradients_are_the_numeric_ones() -> None:
    torch.manual_seed(0)
    x, a, b = draw(4, WIDTH), draw(RANK, WIDTH), draw(OUT, RANK)
    weight, s = torch.randn(OUT, WIDTH, dtype=torch.float64), torch.tensor([[1.0], [0], [1], [0.5]]).double()
    assert torch.autograd.gradcheck(
        lambda *t: lora_by_mask(t[0], weight, None, [(t[1], t[2])], s.expand(-1, RANK)), (x, a, b)
    )
    parts = (torch.tensor([0, 3]),)
    assert torch.autograd.gradcheck(
        lambda *t: lora_by_part(t[0], weight, None, [(t[1], t[2], 2.0, parts)]), (x, a, b)
    )


def test_a_group_that_is_nowhere_has_a_gradient_of_zero() -> None:
    x, a, b = draw(2, LENGTH, WIDTH), draw(RANK, WIDTH), draw(OUT, RANK)
    out = lora_by_part(x, torch.zeros(OUT, WIDTH, dtype=torch.float64), None, [(a, b, 1.0, ())])
    found = torch.autograd.grad(out.sum(), [a, b])
    assert all(torch.count_nonzero(one) == 0 for one in found)


def test_lora_by_hand() -> None:
    """x = [1, 2], W = 0: (x [1, 1]^T) 10 = 30 for the image group, (x [1, 0]^T) 5 = 5 for the text group."""
    x = torch.tensor([[[1.0, 2.0], [1.0, 2.0]]])
    image = (torch.tensor([[1.0, 1.0]]), torch.tensor([[10.0]]), 1.0, ((0, 1),))
    text = (torch.tensor([[1.0, 0.0]]), torch.tensor([[5.0]]), 1.0, ((1, 2),))
    assert lora_by_part(x, torch.zeros(1, 2), None, [image, text]).flatten().tolist() == [30.0, 5.0]

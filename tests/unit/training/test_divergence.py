"""KL(pi_ref || pi_theta) of tokens against torch's own divergence of all distributions."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from preftune.errors import PreftuneError
from preftune.training.divergence import token_divergences

VOCABULARY, WIDTH, ROWS = 50, 16, 7
ROW_BYTES = 5 * 4 * VOCABULARY
PREDICTOR = torch.tensor([0, 3, 3, 1, 2, 5, 3, 6])  # row 3 predicts three tokens, row 4 none
BUDGETS = [None, ROWS * ROW_BYTES, 3 * ROW_BYTES, 2 * ROW_BYTES, 1]


def make_side(seed: int, width: int = WIDTH, bias: bool = True) -> tuple[Tensor, nn.Linear]:
    """States and a head whose distributions are far from uniform."""
    generator = torch.Generator().manual_seed(seed)
    head = nn.Linear(width, VOCABULARY, bias=bias)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return torch.randn(ROWS, width, generator=generator).requires_grad_(), head


def plain(hidden: Tensor, reference_hidden: Tensor, head: nn.Linear, reference_head: nn.Linear) -> Tensor:
    logps = F.log_softmax(head(hidden).float(), dim=-1)
    probabilities = F.softmax(reference_head(reference_hidden).float(), dim=-1).detach()
    return F.kl_div(logps, probabilities, reduction="none").sum(dim=1)[PREDICTOR]


def gradients(values: Tensor, hidden: Tensor, head: nn.Linear) -> list[Tensor]:
    """Of a weighted sum with weights of both signs, with respect to states, weight and bias."""
    weights = torch.linspace(-1.0, 2.0, len(values))
    return list(torch.autograd.grad((weights * values).sum(), [hidden, *head.parameters()]))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("budget", BUDGETS)
def test_equals_torch(budget: int | None, bias: bool) -> None:
    """Kept (None, all rows) and chunked (3, 2, 1 rows); the reference may be a model of another width."""
    hidden, head = make_side(0, bias=bias)
    reference_hidden, reference_head = make_side(1, width=9)
    found = token_divergences(hidden, reference_hidden, head, reference_head, PREDICTOR, budget)
    wanted = plain(hidden, reference_hidden, head, reference_head)
    assert found.dtype == torch.float32 and found.min() > 1
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    for ours, theirs in zip(gradients(found, hidden, head), gradients(wanted, hidden, head), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_by_hand() -> None:
    """pi_ref = (1/2, 1/4, 1/4), pi = (1/4, 1/2, 1/4): KL = 1/2 log 2 - 1/4 log 2; d KL / d logits = pi - pi_ref."""
    head = nn.Linear(3, 3, bias=False)
    nn.init.eye_(head.weight)
    hidden = torch.tensor([[0.25, 0.5, 0.25]]).log().requires_grad_()
    reference_hidden = torch.tensor([[0.5, 0.25, 0.25]]).log()
    found = token_divergences(hidden, reference_hidden, head, head, torch.tensor([0]))
    found.sum().backward()
    torch.testing.assert_close(found, torch.tensor([0.1732868]), atol=1e-6, rtol=0)
    torch.testing.assert_close(hidden.grad, torch.tensor([[-0.25, 0.25, 0.0]]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("budget", BUDGETS)
def test_the_reference_gets_no_gradient(budget: int | None) -> None:
    """Also where its head is the policy's, as with a LoRA adapter that is switched off: only the policy's part counts."""
    hidden, head = make_side(0)
    reference_hidden, _ = make_side(1)
    wanted = gradients(plain(hidden, reference_hidden, head, head), hidden, head)
    found = token_divergences(hidden, reference_hidden, head, head, PREDICTOR, budget)
    for ours, theirs in zip(gradients(found, hidden, head), wanted, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    found = token_divergences(hidden, reference_hidden, head, head, PREDICTOR, budget)
    assert torch.autograd.grad(found.sum(), reference_hidden, allow_unused=True) == (None,)


@pytest.mark.parametrize("budget", BUDGETS)
def test_zero_for_equal_models(budget: int | None) -> None:
    """Divergence and gradient are zero to fp32's resolution at logits of up to 15."""
    hidden, head = make_side(0)
    found = token_divergences(hidden, hidden.detach(), head, head, PREDICTOR, budget)
    assert found.abs().max() < 1e-6
    assert all(gradient.abs().max() < 1e-5 for gradient in gradients(found, hidden, head))


@pytest.mark.parametrize("budget", BUDGETS)
def test_never_more_rows_than_fit(budget: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that go through each head at a time; chunks are computed once more in the backward pass."""
    sizes: list[int] = []
    linear = F.linear
    monkeypatch.setattr(F, "linear", lambda x, *rest: sizes.append(len(x)) or linear(x, *rest))
    hidden, head = make_side(0)
    token_divergences(hidden, hidden.detach(), head, head, PREDICTOR, budget).sum().backward()
    rows = ROWS if budget is None else max(1, budget // ROW_BYTES)
    assert max(sizes) == rows and sum(sizes) == 2 * ROWS * (1 if rows == ROWS else 2)


@pytest.mark.parametrize("budget", BUDGETS)
def test_autocast(budget: int | None) -> None:
    """The divergence stays fp32 over bf16 logits; gradients differ from autograd's by bf16 rounding (2^-8) alone."""
    hidden, head = make_side(0)
    sides = (hidden, make_side(1)[0], head, make_side(1)[1])
    with torch.autocast("cpu", torch.bfloat16):
        found = token_divergences(*sides, PREDICTOR, budget)
        wanted = plain(*sides)
        weights = gradients(found, hidden, head), gradients(wanted, hidden, head)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    assert (found - plain(*sides)).abs().max() > 1e-3
    for ours, theirs in zip(*weights, strict=True):
        assert ours.dtype == torch.float32 and (ours - theirs).norm() < 0.02 * theirs.norm()


@pytest.mark.parametrize("budget", BUDGETS)
def test_a_frozen_head_gets_no_gradient(budget: int | None) -> None:
    hidden, head = make_side(0)
    reference_hidden, reference_head = make_side(1)
    expected = torch.autograd.grad(plain(hidden, reference_hidden, head, reference_head).sum(), hidden)[0]
    head.requires_grad_(False)
    token_divergences(hidden, reference_hidden, head, reference_head, PREDICTOR, budget).sum().backward()
    assert head.weight.grad is None and head.bias.grad is None
    torch.testing.assert_close(hidden.grad, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("budget", BUDGETS)
def test_without_gradients(budget: int | None) -> None:
    hidden, head = make_side(0)
    reference_hidden, reference_head = make_side(1)
    with torch.no_grad():
        found = token_divergences(hidden, reference_hidden, head, reference_head, PREDICTOR, budget)
    assert not found.requires_grad
    torch.testing.assert_close(
        found, plain(hidden, reference_hidden, head, reference_head).detach(), atol=1e-5, rtol=1e-5
    )


def test_another_model_is_refused() -> None:
    hidden, head = make_side(0)
    with pytest.raises(PreftuneError, match=r"\(7, 50\) but the reference model's \(6, 50\)"):
        token_divergences(hidden, hidden[:6], head, head, PREDICTOR)
    with pytest.raises(PreftuneError, match=r"\(7, 50\) but the reference model's \(7, 49\)"):
        token_divergences(hidden, hidden, head, nn.Linear(WIDTH, 49), PREDICTOR)

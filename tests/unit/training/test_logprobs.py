"""Log-probabilities of chosen tokens against log-softmax of all logits."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from preftune.errors import PreftuneError
from preftune.training.logprobs import token_log_probabilities

VOCABULARY, WIDTH, ROWS = 50, 16, 7
ROW_BYTES = 4 * VOCABULARY
PREDICTOR = torch.tensor(
    [0, 3, 3, 1, 2, 5, 3, 6, 6]
)  # row 3 predicts three tokens, one of them twice; row 4 none
TARGETS = torch.tensor([4, 9, 9, 0, 49, 7, 30, 1, 2])
BUDGETS = [None, ROWS * ROW_BYTES, 3 * ROW_BYTES, 2 * ROW_BYTES, 1]


def make_inputs(bias: bool = True) -> tuple[Tensor, nn.Linear]:
    """States and a head whose distributions are far from uniform."""
    generator = torch.Generator().manual_seed(0)
    head = nn.Linear(WIDTH, VOCABULARY, bias=bias)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return torch.randn(ROWS, WIDTH, generator=generator).requires_grad_(), head


def plain(hidden: Tensor, head: nn.Linear) -> Tensor:
    return F.log_softmax(head(hidden).float(), dim=-1)[PREDICTOR, TARGETS]


def gradients(values: Tensor, hidden: Tensor, head: nn.Linear) -> list[Tensor]:
    """Of a weighted sum with weights of both signs, with respect to states, weight and bias."""
    weights = torch.linspace(-1.0, 2.0, len(values))
    return list(torch.autograd.grad((weights * values).sum(), [hidden, *head.parameters()]))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("budget", BUDGETS)
def test_equals_log_softmax_and_gather(budget: int | None, bias: bool) -> None:
    """Kept (None, all rows) and chunked (3, 2, 1 rows), values and gradients; 1e-5: sums in another order."""
    hidden, head = make_inputs(bias)
    found, flags = token_log_probabilities(hidden, head, PREDICTOR, TARGETS, budget)
    wanted = plain(hidden, head)
    assert flags is None and found.dtype == torch.float32 and wanted.min() < -5
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    for ours, theirs in zip(gradients(found, hidden, head), gradients(wanted, hidden, head), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("budget", BUDGETS)
def test_never_more_logits_than_the_budget(budget: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that go through the head at a time; without a budget all 7, which then are computed once only."""
    sizes = []
    linear = F.linear
    monkeypatch.setattr(F, "linear", lambda x, *rest: sizes.append(len(x)) or linear(x, *rest))
    hidden, head = make_inputs()
    values, _ = token_log_probabilities(hidden, head, PREDICTOR, TARGETS, budget)
    values.sum().backward()
    rows = ROWS if budget is None else max(1, budget // ROW_BYTES)
    assert max(sizes) == rows and sum(sizes) == (ROWS if rows == ROWS else 2 * ROWS)


@pytest.mark.parametrize("budget", BUDGETS)
def test_a_second_backward_pass_gives_the_same(budget: int | None) -> None:
    """The first one overwrites the logits that were kept."""
    hidden, head = make_inputs()
    values, _ = token_log_probabilities(hidden, head, PREDICTOR, TARGETS, budget)
    first, second = (torch.autograd.grad(values.sum(), hidden, retain_graph=True)[0] for _ in range(2))
    torch.testing.assert_close(first, second, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("budget", BUDGETS)
def test_greedy_flags(budget: int | None) -> None:
    hidden, head = make_inputs()
    likeliest = head(hidden).argmax(dim=1)
    targets = TARGETS.clone()
    targets[::2] = likeliest[PREDICTOR[::2]]
    values, flags = token_log_probabilities(hidden, head, PREDICTOR, targets, budget, greedy=True)
    assert flags.tolist() == (targets == likeliest[PREDICTOR]).tolist()
    assert 0 < flags.sum() < len(flags)
    assert torch.equal(values, token_log_probabilities(hidden, head, PREDICTOR, targets, budget)[0])


@pytest.mark.parametrize("budget", BUDGETS)
def test_autocast(budget: int | None) -> None:
    """The softmax stays fp32 over bf16 logits; gradients differ from autograd's by bf16 rounding (2^-8) alone."""
    hidden, head = make_inputs()
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = token_log_probabilities(hidden, head, PREDICTOR, TARGETS, budget)
        wanted = plain(hidden, head)
    half = [x.bfloat16() for x in (hidden, head.weight, head.bias)]
    logits = F.linear(*half)
    assert found.dtype == torch.float32 and logits.dtype == torch.bfloat16
    torch.testing.assert_close(found, logits.float().log_softmax(-1)[PREDICTOR, TARGETS], atol=1e-5, rtol=0)
    assert (found - plain(hidden, head)).abs().max() > 1e-3
    for ours, theirs in zip(gradients(found, hidden, head), gradients(wanted, hidden, head), strict=True):
        assert ours.dtype == torch.float32 and (ours - theirs).norm() < 0.02 * theirs.norm()


@pytest.mark.parametrize("budget", BUDGETS)
def test_a_frozen_head_gets_no_gradient(budget: int | None) -> None:
    hidden, head = make_inputs()
    expected = torch.autograd.grad(plain(hidden, head).sum(), hidden)[0]
    head.requires_grad_(False)
    token_log_probabilities(hidden, head, PREDICTOR, TARGETS, budget)[0].sum().backward()
    assert head.weight.grad is None and head.bias.grad is None
    torch.testing.assert_close(hidden.grad, expected, atol=1e-5, rtol=1e-5)


def test_without_gradients() -> None:
    hidden, head = make_inputs()
    with torch.no_grad():
        values, _ = token_log_probabilities(hidden, head, PREDICTOR, TARGETS)
    assert not values.requires_grad
    torch.testing.assert_close(values, plain(hidden, head).detach(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "head", [nn.Sequential(nn.Linear(WIDTH, VOCABULARY)), nn.Embedding(VOCABULARY, WIDTH)]
)
def test_a_head_that_is_not_linear_is_refused(head: nn.Module) -> None:
    with pytest.raises(PreftuneError, match=f"is a {type(head).__name__}, not one linear layer"):
        token_log_probabilities(torch.zeros(ROWS, WIDTH), head, PREDICTOR, TARGETS)

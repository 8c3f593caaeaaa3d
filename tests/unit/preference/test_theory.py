"""The statements of docs/theory.md: `test_t3_...` checks T3."""

import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import sympy as sp
import torch
from torch import Tensor

from preftune.preference.losses import contrastive_dph_loss, dpo_loss, separable_dph_loss
from preftune.preference.objectives.penalties import each_reward_penalty, sum_reward_penalty

PAGE = (Path(__file__).parents[3] / "docs" / "theory.md").read_text()
X, W, L, C, T = sp.symbols("x r_w r_l c t", real=True)
NOISE = sp.Symbol(
    "n", positive=True
)  # eps = n / (1 + n) is below one half for n < 1, and 0 < eps < 1 for all n > 0
EPS = NOISE / (1 + NOISE)
CAP = sp.log((1 - EPS) / EPS)
LOSSES = {"separable": separable_dph_loss, "contrastive": contrastive_dph_loss}
POINTS = [(0.0, 0.0), (1.0, -0.5), (-2.0, 1.5), (4.0, 3.0)]
SMOOTHINGS = [0.0, 0.05, 0.1, 0.2, 0.45]


def sigmoid(x: sp.Expr) -> sp.Expr:
    return 1 / (1 + sp.exp(-x))


def ell(x: sp.Expr, eps: sp.Expr = EPS) -> sp.Expr:
    """Cross-entropy of a logit with the soft label 1 - eps, as T1 defines it."""
    return -(1 - eps) * sp.log(sigmoid(x)) - eps * sp.log(sigmoid(-x))


SEPARABLE = ell(W) + ell(-L)
CONTRASTIVE = ell(W - L)
FORMULAS = {"separable": SEPARABLE, "contrastive": CONTRASTIVE}


def equal(one: sp.Expr, other: sp.Expr) -> bool:
    """Symbolic equality; logarithms are split, which is allowed for the positive arguments here."""
    return sp.simplify(sp.expand_log(sp.simplify(one - other), force=True)) == 0


def entropy(eps: float) -> float:
    return -eps * math.log(eps) - (1 - eps) * math.log(1 - eps)


def logit(eps: float) -> float:
    return math.log((1 - eps) / eps)


def value(
    loss: Callable[..., Tensor], chosen: float, rejected: float, eps: float
) -> tuple[float, float, float]:
    """Of our code: the loss and its derivatives by both rewards."""
    rewards = [torch.tensor([x], requires_grad=True) for x in (chosen, rejected)]
    found = loss(*rewards, eps)
    first, second = torch.autograd.grad(found, rewards)
    return found.item(), first.item(), second.item()


Objective = Callable[[Tensor, Tensor], Tensor]


def objective(loss: Callable[..., Tensor], eps: float, penalty: Objective | None = None) -> Objective:
    """A loss, with 0.1 times a penalty where one is given."""

    def compute(chosen: Tensor, rejected: Tensor) -> Tensor:
        extra = 0.0 if penalty is None else 0.1 * penalty(chosen, rejected)
        return loss(chosen, rejected, eps) + extra

    return compute


def descend(compute: Objective, start: tuple[float, float], steps: int = 200) -> tuple[float, float]:
    """Rewards of one pair after gradient descent with the rate 2, which is below 2 / curvature."""
    rewards = torch.tensor([[start[0]], [start[1]]], requires_grad=True)
    for _ in range(steps):
        (gradient,) = torch.autograd.grad(compute(rewards[0], rewards[1]), rewards)
        rewards = (rewards - 2 * gradient).detach().requires_grad_()
    return rewards[0].item(), rewards[1].item()


def test_every_statement_has_its_test() -> None:
    stated = re.findall(r"^\*\*T(\d+)\.", PAGE, re.MULTILINE)
    tested = {match[1] for name in globals() if (match := re.match(r"test_t(\d+)_", name))}
    assert stated == [str(number) for number in range(1, 12)] and tested == set(stated)


@pytest.mark.parametrize("kind", LOSSES)
def test_t1_losses_and_gradients(kind: str) -> None:
    """l', l'' and l = -log s(x) + eps x are algebra; the code has the formula's values and derivatives."""
    assert equal(sp.diff(ell(X), X), sigmoid(X) - (1 - EPS))
    assert equal(sp.diff(ell(X), X, 2), sigmoid(X) * (1 - sigmoid(X)))
    assert equal(ell(X), -sp.log(sigmoid(X)) + EPS * X)
    formula = FORMULAS[kind]
    parts = sp.lambdify((W, L, NOISE), [formula, sp.diff(formula, W), sp.diff(formula, L)])
    for eps in SMOOTHINGS:
        for point in POINTS:
            assert value(LOSSES[kind], *point, eps) == pytest.approx(parts(*point, eps / (1 - eps)), abs=2e-6)


def test_t1_gradients_as_stated() -> None:
    assert equal(sp.diff(SEPARABLE, W), sigmoid(W) - (1 - EPS))
    assert equal(sp.diff(SEPARABLE, L), sigmoid(L) - EPS)
    assert equal(sp.diff(CONTRASTIVE, W), sigmoid(W - L) - (1 - EPS))
    assert equal(sp.diff(CONTRASTIVE, L), -sp.diff(CONTRASTIVE, W))


def test_t2_hessians() -> None:
    curvature = sp.exp(X) / (1 + sp.exp(X)) ** 2  # l'', in a form whose sign sympy sees
    assert equal(curvature, sp.diff(ell(X), X, 2)) and curvature.is_positive
    assert equal(sp.Rational(1, 4) - curvature, (sp.tanh(X / 2) / 2).rewrite(sp.exp) ** 2)
    separable = sp.hessian(SEPARABLE, (W, L))
    wanted = sp.diag(curvature.subs(X, W), curvature.subs(X, L))
    assert all(equal(one, other) for one, other in zip(separable, wanted, strict=True))
    contrastive = sp.hessian(CONTRASTIVE, (W, L))
    slope = curvature.subs(X, W - L)
    assert all(
        equal(one, other * slope)
        for one, other in zip(contrastive, sp.Matrix([[1, -1], [-1, 1]]), strict=True)
    )
    for vector, eigenvalue in (((1, 1), 0), ((1, -1), 2 * slope)):
        vector = sp.Matrix(vector)
        assert all(equal(x, eigenvalue * y) for x, y in zip(contrastive * vector, vector, strict=True))


def test_t3_minimiser() -> None:
    assert equal(sp.diff(ell(X), X).subs(X, CAP), sp.Integer(0))
    assert equal(ell(CAP), -EPS * sp.log(EPS) - (1 - EPS) * sp.log(1 - EPS))
    for eps in (0.05, 0.1, 0.2):
        for start in ((0.0, 0.0), (-3.0, 4.0), (6.0, 5.0)):
            found = descend(objective(separable_dph_loss, eps), start)
            assert found == pytest.approx((logit(eps), -logit(eps)), abs=1e-3)
            chosen, rejected = descend(objective(contrastive_dph_loss, eps), start)
            assert chosen - rejected == pytest.approx(logit(eps), abs=1e-3)
            assert chosen + rejected == pytest.approx(sum(start), abs=1e-3)


def test_t3_without_smoothing_rewards_diverge() -> None:
    plain = ell(X, sp.Integer(0))
    assert sp.limit(plain, X, sp.oo) == 0 and equal(sp.diff(plain, X), -1 / (1 + sp.exp(X)))
    assert (1 / (1 + sp.exp(X))).is_positive
    for loss in LOSSES.values():
        ends = [descend(objective(loss, 0.0), (0.0, 0.0), steps) for steps in (50, 500)]
        few, many = (chosen - rejected for chosen, rejected in ends)
        assert 2 < few < many - 2


def test_t3_table() -> None:
    """The numbers of the page are those of our code at the optimum."""
    rows = re.findall(r"^\| (0\.\d+) \|(.*)\|$", PAGE, re.MULTILINE)
    assert [float(row[0]) for row in rows] == [0.05, 0.1, 0.2]
    for name, cells in rows:
        eps, m = float(name), logit(float(name))
        contrastive = value(contrastive_dph_loss, m + 1, 1.0, eps)
        separable = value(separable_dph_loss, m, -m, eps)
        wanted = [m, 2 * m, contrastive[0], separable[0]]
        assert [float(cell) for cell in cells.split("|")] == pytest.approx(wanted, abs=1e-6)
        assert wanted[2:] == pytest.approx([entropy(eps), 2 * entropy(eps)], abs=1e-6)
        assert [*contrastive[1:], *separable[1:]] == pytest.approx([0] * 4, abs=1e-6)


def test_t4_margin_cap() -> None:
    """The numerator is positive for t > 0 alone, the denominator always."""
    slope = sp.diff(ell(X), X).subs(X, CAP + T)
    assert equal(slope, EPS * (1 - EPS) * (1 - sp.exp(-T)) / (1 - EPS + EPS * sp.exp(-T)))
    assert equal(sigmoid(CAP), 1 - EPS)
    for eps in (0.05, 0.1, 0.2):
        for t in (-0.5, 0.5):
            m = logit(eps) + t
            for loss, rewards in ((contrastive_dph_loss, (m, 0.0)), (separable_dph_loss, (m, -m))):
                _, chosen, rejected = value(loss, *rewards, eps)
                assert chosen * t > 0 > rejected * t


@pytest.mark.parametrize("eps", SMOOTHINGS)
def test_t5_bounded_gradients(eps: float) -> None:
    """The bounds are the limits; fp32 reaches them."""
    slope = sp.diff(ell(X), X)
    assert sp.limit(slope, X, -sp.oo).equals(-(1 - EPS)) and sp.limit(slope, X, sp.oo).equals(EPS)
    for x in (-50.0, -8.0, -1.0, 0.0, 1.0, 8.0, 50.0):
        for rejected in (-3.0, 0.0, 3.0):
            for loss in LOSSES.values():
                _, first, second = value(loss, x, rejected, eps)
                assert -(1 - eps) - 1e-6 <= first <= eps + 1e-6 and -eps - 1e-6 <= second <= 1 - eps + 1e-6
    features = torch.randn(2, 1, 8, generator=torch.Generator().manual_seed(0))
    for scale in (-1e4, 0.1, 1e4):
        weights = torch.full((8,), scale, requires_grad=True)
        for loss in LOSSES.values():
            (gradient,) = torch.autograd.grad(loss(*(features @ weights), eps), weights)
            assert gradient.norm() <= (1 - eps) * features.norm(dim=2).sum() + 1e-5


def test_t6_shifts() -> None:
    shifted = {W: W + C, L: L + C}
    assert equal(CONTRASTIVE.subs(shifted, simultaneous=True), CONTRASTIVE)
    assert equal(sp.diff(CONTRASTIVE, W) + sp.diff(CONTRASTIVE, L), sp.Integer(0))
    for shift in (-2.0, 2.0):
        assert (
            value(separable_dph_loss, 1 + shift, -1 + shift, 0.1)[0]
            > value(separable_dph_loss, 1.0, -1.0, 0.1)[0]
        )
    for reward in (-1.5, -0.1, 0.1, 1.5):
        # The better label of an answer alone: good (chosen) where the reward is above 0.
        good, bad = (
            value(separable_dph_loss, reward, 0.0, 0.1)[0],
            value(separable_dph_loss, 0.0, reward, 0.1)[0],
        )
        assert (good < bad) == (reward > 0)


def test_t7_cdpo() -> None:
    beta = eps = 0.1
    generator = torch.Generator().manual_seed(0)
    policy, reference = torch.randn(2, 2, 5, generator=generator)
    policy[0, -1] = policy[1, -1] + reference[0, -1] - reference[1, -1] + logit(eps) / beta
    policy.requires_grad_()
    losses = (
        contrastive_dph_loss(*(beta * (policy - reference)), eps),
        dpo_loss(*policy, *reference, beta, eps),
    )
    torch.testing.assert_close(*losses, atol=1e-6, rtol=0)
    first, second = (torch.autograd.grad(loss, policy)[0] for loss in losses)
    torch.testing.assert_close(first, second, atol=1e-7, rtol=0)
    assert second[:, -1].abs().max() < 1e-6 < second[:, :-1].abs().min()
    assert f"{logit(eps) / beta:.0f} nats at ε = β = 0.1" in PAGE.replace("\n", " ")


def test_t8_separable_is_contrastive_at_half_the_margin() -> None:
    half, middle = (W - L) / 2, (W + L) / 2
    rest = sp.log((sp.cosh(half) + sp.cosh(middle)) / (sp.cosh(half) + 1))
    identity = sp.exp(SEPARABLE - 2 * ell(half) - rest).rewrite(sp.exp)
    at = sp.lambdify((W, L, NOISE), identity)
    assert all(at(*point, n) == pytest.approx(1, abs=1e-12) for point in POINTS for n in (0.01, 0.3, 0.9))
    assert equal(SEPARABLE.subs({W: X, L: -X}, simultaneous=True), 2 * ell(X))
    for eps in SMOOTHINGS:
        for chosen, rejected in POINTS:
            a, c = (chosen - rejected) / 2, (chosen + rejected) / 2
            extra = (
                value(separable_dph_loss, chosen, rejected, eps)[0]
                - 2 * value(contrastive_dph_loss, a, 0.0, eps)[0]
            )
            assert extra == pytest.approx(
                math.log((math.cosh(a) + math.cosh(c)) / (math.cosh(a) + 1)), abs=2e-6
            )


@pytest.mark.parametrize("kind", LOSSES)
def test_t9_label_noise(kind: str) -> None:
    """The expectation over flips, as algebra and by exchanging the answers of a share of the pairs."""
    eps, eta = sp.symbols("eps eta", positive=True)
    flipped = (1 - eta) * ell(X, eps) + eta * ell(-X, eps)
    assert equal(flipped, ell(X, eps + eta - 2 * eps * eta))
    chosen, rejected = torch.full((20,), 1.3), torch.full((20,), -0.4)
    exchanged = torch.arange(20) < 3  # eta = 0.15
    noisy = torch.where(exchanged, rejected, chosen), torch.where(exchanged, chosen, rejected)
    for smoothing in (0.0, 0.1):
        total = smoothing + 0.15 - 2 * smoothing * 0.15
        found, wanted = LOSSES[kind](*noisy, smoothing), LOSSES[kind](chosen, rejected, total)
        assert found.item() == pytest.approx(wanted.item(), abs=1e-6)
    added = LOSSES[kind](rejected, chosen, 0.1) - LOSSES[kind](chosen, rejected, 0.1)
    assert added.item() == pytest.approx(0.8 * 1.7, abs=1e-6)


@pytest.mark.parametrize("start", [(0.0, 0.0), (5.0, 2.0)])
def test_t10_penalties(start: tuple[float, float]) -> None:
    for eps in (0.05, 0.2):
        found = descend(objective(contrastive_dph_loss, eps, sum_reward_penalty), start)
        assert found == pytest.approx((logit(eps) / 2, -logit(eps) / 2), abs=1e-3)
    margins = {}
    for eps in (0.0, 0.1):
        chosen, rejected = descend(objective(contrastive_dph_loss, eps, each_reward_penalty), start)
        margins[eps] = chosen - rejected
        assert chosen + rejected == pytest.approx(0, abs=1e-5)
        assert 1 / (1 + math.exp(-margins[eps])) + 0.1 * margins[eps] == pytest.approx(1 - eps, abs=1e-5)
    assert margins[0.1] < logit(0.1) - 0.5
    stated = re.search(r"it is (\S+), about as with\sε = (\S+) alone", PAGE)
    assert stated is not None and margins[0.0] == pytest.approx(float(stated[1]), abs=5e-4)
    assert margins[0.0] == pytest.approx(logit(float(stated[2])), abs=5e-3)


def test_t11_one_head_for_many_pairs() -> None:
    """A linear head at the minimum: mistakes and margins above the cap, balanced by margins below it."""
    eps, generator = 0.1, torch.Generator().manual_seed(0)
    chosen, rejected = torch.randn(2, 400, 5, generator=generator, dtype=torch.float64)
    chosen[:, 0] += 2.5
    weights = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=30, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = contrastive_dph_loss(chosen @ weights, rejected @ weights, eps)
        loss.backward()
        return loss

    optimizer.step(closure)
    margins = ((chosen - rejected) @ weights).detach()
    summands = (torch.sigmoid(margins) - (1 - eps)) * margins
    assert summands.mean().item() == pytest.approx(0, abs=1e-4)
    below = (margins > 0) & (margins < logit(eps))
    assert torch.equal(summands < 0, below)
    assert min((margins > logit(eps)).sum(), (margins < 0).sum(), below.sum()) >= 5

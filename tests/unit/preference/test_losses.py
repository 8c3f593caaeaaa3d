"""The objectives against values derived by hand.

With s the logistic function and eps the label smoothing, differentiating
    L_sep = -(1-eps) log s(r_w) - eps log s(-r_w) - eps log s(r_l) - (1-eps) log s(-r_l)
    L_con = -(1-eps) log s(d) - eps log s(-d),  d = r_w - r_l
and using (log s(x))' = 1 - s(x), (log s(-x))' = -s(x):
    dL_sep/dr_w = s(r_w) - (1-eps),  dL_sep/dr_l = s(r_l) - eps,  dL_con/dr_w = s(d) - (1-eps) = -dL_con/dr_l.
Both gradients vanish where s(.) = 1 - eps, that is at m = log((1-eps)/eps): r_w = m, r_l = -m, or d = m.
There -(1-eps) log(1-eps) - eps log(eps) = H(eps) is left of each binary cross-entropy: 2 H and H.

At r_w = r_l = 0 each log is -log 2, so L_sep = 2 log 2 = 1.386294 and L_con = log 2 = 0.693147 for every eps.
At eps = 0.1, r_w = 1, r_l = -0.5 with softplus(x) = -log s(-x):
    softplus(-1) = 0.313262, softplus(1) = 1.313262, softplus(-0.5) = 0.474077, softplus(0.5) = 0.974077,
    L_sep = 0.9 * 0.313262 + 0.1 * 1.313262 + 0.1 * 0.974077 + 0.9 * 0.474077 = 0.937339,
    d = 1.5: softplus(-1.5) = 0.201413, softplus(1.5) = 1.701413, L_con = 0.9 * 0.201413 + 0.1 * 1.701413 =
    0.351413; s(1) = 0.731059, s(-0.5) = 0.377541, s(1.5) = 0.817574, so
    dL_sep = (-0.168941, 0.277541) and dL_con/dr_w = -0.082426.
"""

import math

import pytest
import torch

from preftune.errors import PreftuneError
from preftune.preference.losses import contrastive_dph_loss, dpo_loss, separable_dph_loss

OPTIMA = [
    (0.05, 2.944439, 0.397030, 0.198515),
    (0.10, 2.197225, 0.650166, 0.325083),
    (0.20, 1.386294, 1.000805, 0.500402),
]
DPH = [separable_dph_loss, contrastive_dph_loss]
POINTS = [(0.0, 0.0), (1.0, -0.5), (-2.0, 3.0), (4.0, 4.5), (0.1, -6.0)]


def pair(chosen: float, rejected: float) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([float(chosen)], requires_grad=True), torch.tensor(
        [float(rejected)], requires_grad=True
    )


@pytest.mark.parametrize("eps", [0.0, 0.05, 0.1, 0.2, 0.49])
def test_values_at_zero(eps: float) -> None:
    assert separable_dph_loss(*pair(0, 0), eps).item() == pytest.approx(1.386294, abs=1e-6)
    assert contrastive_dph_loss(*pair(0, 0), eps).item() == pytest.approx(0.693147, abs=1e-6)


def test_values_and_gradients_off_the_optimum() -> None:
    chosen, rejected = pair(1.0, -0.5)
    loss = separable_dph_loss(chosen, rejected, 0.1)
    loss.backward()
    assert loss.item() == pytest.approx(0.937339, abs=1e-6)
    assert (chosen.grad.item(), rejected.grad.item()) == pytest.approx((-0.168941, 0.277541), abs=1e-6)
    chosen, rejected = pair(1.0, -0.5)
    loss = contrastive_dph_loss(chosen, rejected, 0.1)
    loss.backward()
    assert loss.item() == pytest.approx(0.351413, abs=1e-6)
    assert (chosen.grad.item(), rejected.grad.item()) == pytest.approx((-0.082426, 0.082426), abs=1e-6)


@pytest.mark.parametrize("eps", [0.0, 0.05, 0.1, 0.2])
@pytest.mark.parametrize("point", POINTS)
def test_values_and_gradients_are_the_closed_forms(point: tuple[float, float], eps: float) -> None:
    """Written with exp and log alone: values, s(r_w) - (1-eps), s(r_l) - eps, and s(d) - (1-eps)."""
    s_w, s_l, s_d = (1 / (1 + math.exp(-x)) for x in (*point, point[0] - point[1]))
    chosen, rejected = pair(*point)
    loss = separable_dph_loss(chosen, rejected, eps)
    value = -(1 - eps) * math.log(s_w * (1 - s_l)) - eps * math.log((1 - s_w) * s_l)
    assert loss.item() == pytest.approx(value, rel=1e-6, abs=1e-6)
    gradient = [part.item() for part in torch.autograd.grad(loss, (chosen, rejected))]
    assert gradient == pytest.approx([s_w - (1 - eps), s_l - eps], abs=1e-6)
    loss = contrastive_dph_loss(chosen, rejected, eps)
    assert loss.item() == pytest.approx(
        -(1 - eps) * math.log(s_d) - eps * math.log(1 - s_d), rel=1e-6, abs=1e-6
    )
    gradient = [part.item() for part in torch.autograd.grad(loss, (chosen, rejected))]
    assert gradient == pytest.approx([s_d - (1 - eps), (1 - eps) - s_d], abs=1e-6)


@pytest.mark.parametrize(("eps", "optimum", "separable", "contrastive"), OPTIMA)
def test_optima(eps: float, optimum: float, separable: float, contrastive: float) -> None:
    assert math.log((1 - eps) / eps) == pytest.approx(optimum, abs=1e-6)
    chosen, rejected = pair(optimum, -optimum)
    loss = separable_dph_loss(chosen, rejected, eps)
    loss.backward()
    assert loss.item() == pytest.approx(separable, abs=1e-6)
    assert max(abs(chosen.grad.item()), abs(rejected.grad.item())) < 1e-6
    chosen, rejected = pair(optimum + 3.0, 3.0)
    loss = contrastive_dph_loss(chosen, rejected, eps)
    loss.backward()
    assert loss.item() == pytest.approx(contrastive, abs=1e-6)
    assert max(abs(chosen.grad.item()), abs(rejected.grad.item())) < 1e-6


@pytest.mark.parametrize("eps", [0.0, 0.05, 0.1, 0.2])
@pytest.mark.parametrize("point", POINTS)
def test_hessians(point: tuple[float, float], eps: float) -> None:
    """Separable: diag(s'(r_w), s'(r_l)); contrastive: s'(d) [[1, -1], [-1, 1]], with s' = s (1 - s); no eps."""

    def slope(x: float) -> float:
        s = 1 / (1 + math.exp(-x))
        return s * (1 - s)

    def hessian(loss) -> list[float]:
        rewards = (torch.tensor([point[0]]), torch.tensor([point[1]]))
        rows = torch.autograd.functional.hessian(
            lambda chosen, rejected: loss(chosen, rejected, eps), rewards
        )
        return [block.item() for row in rows for block in row]

    d = slope(point[0] - point[1])
    assert hessian(separable_dph_loss) == pytest.approx([slope(point[0]), 0, 0, slope(point[1])], abs=1e-6)
    assert hessian(contrastive_dph_loss) == pytest.approx([d, -d, -d, d], abs=1e-6)


def test_contrastive_ignores_a_common_shift() -> None:
    chosen, rejected = torch.tensor([0.2, -1.0]), torch.tensor([0.7, -3.0])
    assert contrastive_dph_loss(chosen, rejected).item() == pytest.approx(
        contrastive_dph_loss(chosen + 5, rejected + 5).item(), abs=1e-6
    )


@pytest.mark.parametrize("loss", DPH)
def test_swapping_a_pair_equals_flipping_the_label(loss) -> None:
    """Swapping the answers equals 1 - eps in place of eps: here written out, since eps above 0.5 is refused.

    For L_con: L(r_l, r_w; eps) - L(r_w, r_l; eps) = (1 - 2 eps) d, and for L_sep (1 - 2 eps) (r_w - r_l) as
    well, because log s(x) - log s(-x) = x.
    """
    chosen, rejected = torch.tensor([0.4]), torch.tensor([-1.1])
    difference = loss(rejected, chosen, 0.1) - loss(chosen, rejected, 0.1)
    assert difference.item() == pytest.approx(0.8 * 1.5, abs=1e-6)


def test_separable_swap_symmetry() -> None:
    """L_sep(r_w, r_l) = L_sep(-r_l, -r_w): the answers change places when both rewards change sign."""
    chosen, rejected = torch.tensor([0.4, 2.0]), torch.tensor([-1.1, 0.5])
    assert separable_dph_loss(chosen, rejected).item() == pytest.approx(
        separable_dph_loss(-rejected, -chosen).item(), abs=1e-6
    )


def test_contrastive_of_implicit_rewards_is_cdpo() -> None:
    """With r = beta (log pi - log pi_ref), r_w - r_l = beta Delta, so L_con is cDPO: in value, gradient, optimum.

    The gradient by log pi vanishes in both where beta Delta = log((1 - eps) / eps).
    """
    generator = torch.Generator().manual_seed(0)
    policy_w, policy_l, reference_w, reference_l = torch.randn(4, 6, generator=generator).unbind(0)
    beta, eps = 0.3, 0.1
    policy_w[-1] = policy_l[-1] + reference_w[-1] - reference_l[-1] + math.log((1 - eps) / eps) / beta
    policy_w.requires_grad_(), policy_l.requires_grad_()
    contrastive = contrastive_dph_loss(beta * (policy_w - reference_w), beta * (policy_l - reference_l), eps)
    cdpo = dpo_loss(policy_w, policy_l, reference_w, reference_l, beta, eps)
    assert cdpo.item() == pytest.approx(contrastive.item(), abs=1e-6)
    expected = torch.autograd.grad(contrastive, (policy_w, policy_l))
    found = torch.autograd.grad(cdpo, (policy_w, policy_l))
    for one, other in zip(expected, found, strict=True):
        assert torch.allclose(one, other, atol=1e-6)
        assert abs(one[-1].item()) < 1e-6 < one[:-1].abs().max().item()


def test_dpo_by_hand() -> None:
    """Delta = (-3 - -5) - (-4 - -4) = 2; beta Delta = 0.2; L = softplus(-0.2) = 0.598139; eps 0.1 adds 0.1 *
    0.2.

    dL/d log pi(y_w) = -beta (1 - s(0.2)) = -0.1 * 0.450166 = -0.045017. At Delta = 0 the loss is log 2.
    """
    chosen, rejected = pair(-3.0, -5.0)
    reference = (torch.tensor([-4.0]), torch.tensor([-4.0]))
    loss = dpo_loss(chosen, rejected, *reference, beta=0.1)
    loss.backward()
    assert loss.item() == pytest.approx(0.598139, abs=1e-6)
    assert (chosen.grad.item(), rejected.grad.item()) == pytest.approx((-0.045017, 0.045017), abs=1e-6)
    smoothed = dpo_loss(chosen, rejected, *reference, beta=0.1, label_smoothing=0.1)
    assert smoothed.item() == pytest.approx(0.618139, abs=1e-6)
    assert dpo_loss(*reference, *reference).item() == pytest.approx(math.log(2), abs=1e-6)


def test_mean_over_pairs() -> None:
    chosen, rejected = torch.tensor([1.0, 0.0]), torch.tensor([-0.5, 0.0])
    assert separable_dph_loss(chosen, rejected).item() == pytest.approx((0.937339 + 1.386294) / 2, abs=1e-6)
    assert contrastive_dph_loss(chosen, rejected).item() == pytest.approx((0.351413 + 0.693147) / 2, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_fp32_under_autocast_and_for_half_inputs(dtype: torch.dtype) -> None:
    """1, -0.5 and small integers are exact in every type, so nothing but the losses' own arithmetic could round."""
    rewards = torch.tensor([1.0], dtype=dtype), torch.tensor([-0.5], dtype=dtype)
    logps = [torch.tensor([x], dtype=dtype) for x in (-3.0, -5.0, -4.0, -4.0)]
    for autocast in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            losses = [loss(*rewards, 0.1) for loss in DPH] + [dpo_loss(*logps, 0.1, 0.1)]
        assert all(loss.dtype == torch.float32 for loss in losses)
        assert [loss.item() for loss in losses] == pytest.approx([0.937339, 0.351413, 0.618139], abs=1e-6)


def test_extreme_rewards_stay_finite() -> None:
    """At margins of 2e4 the log-sigmoid is linear; the gradient of each reward is 1 in size, and 0 on the good side."""
    for loss in DPH:
        chosen, rejected = pair(-1e4, 1e4)
        found = loss(chosen, rejected, 0.0)
        found.backward()
        assert found.item() == 2e4 and (chosen.grad.item(), rejected.grad.item()) == (-1.0, 1.0)
        chosen, rejected = pair(1e4, -1e4)
        found = loss(chosen, rejected, 0.0)
        found.backward()
        assert found.item() == chosen.grad.item() == rejected.grad.item() == 0.0


@pytest.mark.parametrize("eps", [-0.01, 0.5, 1.0, math.nan])
def test_bad_label_smoothing(eps: float) -> None:
    rewards = torch.zeros(2)
    for loss in DPH:
        with pytest.raises(PreftuneError, match="label_smoothing"):
            loss(rewards, rewards, eps)
    with pytest.raises(PreftuneError, match="label_smoothing"):
        dpo_loss(rewards, rewards, rewards, rewards, label_smoothing=eps)


@pytest.mark.parametrize("beta", [0.0, -0.1, math.nan, math.inf])
def test_bad_beta(beta: float) -> None:
    rewards = torch.zeros(2)
    with pytest.raises(PreftuneError, match="beta"):
        dpo_loss(rewards, rewards, rewards, rewards, beta=beta)


@pytest.mark.parametrize(
    "shapes", [((3,), (3, 1)), ((3,), (2,)), ((3,), (1,)), ((), ()), ((0,), (0,)), ((2, 1),) * 2]
)
def test_shapes_that_would_broadcast_are_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    one, other = (torch.zeros(shape) for shape in shapes)
    for loss in DPH:
        with pytest.raises(
            PreftuneError, match=r"shapes .*; pass non-empty vectors of one length \[pairs\]$"
        ):
            loss(one, other)
    with pytest.raises(PreftuneError, match="DPO loss: the inputs have shapes"):
        dpo_loss(one, one, one, other)

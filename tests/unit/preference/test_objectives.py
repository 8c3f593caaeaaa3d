"""Objectives and penalties against values by hand, NumPy, closed gradients and TRL.

By hand, with means per token: IPO of policy (-1, -2) and reference (-1.5, -1.5): h = 1, (1 - 1 / 0.2)^2 = 16. SimPO of
(-1, -2), beta 2, gamma 0.5: softplus(-1.5) = 0.201413. ORPO of p = 1/2 and 1/4, so odds of 1 and 1/3: the sigmoid of
log 3 is 3/4, so log 2 + 0.1 log(4/3) = 0.721916.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from preftune.errors import PreftuneError
from preftune.preference.losses import contrastive_dph_loss, separable_dph_loss
from preftune.preference.objectives.ipo import ipo_loss
from preftune.preference.objectives.orpo import orpo_loss
from preftune.preference.objectives.penalties import each_reward_penalty, sum_reward_penalty
from preftune.preference.objectives.registry import (
    POLICY_LOSSES,
    REWARD_LOSSES,
    REWARD_PENALTIES,
    AnswerLogps,
)
from preftune.preference.objectives.sft import sft_loss
from preftune.preference.objectives.simpo import simpo_loss
from preftune.settings.alignment import AlignmentSettings
from preftune.settings.training import TrainingSettings

# No two settings are equal, none has its default: a loss that reads the wrong one is found.
SETTINGS = AlignmentSettings(
    dph="none", policy="dpo", beta=0.35, policy_label_smoothing=0.15, target_margin=0.7, odds_weight=0.25,
    training=TrainingSettings(steps=1, batch=1, learning_rate=1e-3),
)  # fmt: skip
PAIRS = 6


def vectors(*values: float) -> list[Tensor]:
    return [torch.tensor([float(value)], requires_grad=True) for value in values]


@pytest.fixture
def logps() -> AnswerLogps:
    """Answers of 1 to 40 tokens; the policy's sums want gradients."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, 41, (2, PAIRS), generator=generator)
    policy, reference = -(0.05 + torch.rand(2, 2, PAIRS, generator=generator)) * tokens
    chosen, rejected = (row.clone().requires_grad_() for row in policy)
    return AnswerLogps(chosen, rejected, *reference, *tokens)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


# Losses of the pairs and their derivatives by the policy's two sums, of AnswerLogps' fields as arrays.
Numbers = tuple[np.ndarray, np.ndarray, np.ndarray]


def numpy_dpo(x: SimpleNamespace) -> Numbers:
    s = sigmoid(0.35 * ((x.chosen - x.rejected) - (x.reference_chosen - x.reference_rejected)))
    slope = 0.35 * (s - 0.85)
    return -0.85 * np.log(s) - 0.15 * np.log(1 - s), slope, -slope


def numpy_ipo(x: SimpleNamespace) -> Numbers:
    ratios = (
        (x.chosen - x.reference_chosen) / x.chosen_tokens,
        (x.rejected - x.reference_rejected) / x.rejected_tokens,
    )
    distance = ratios[0] - ratios[1] - 1 / 0.7
    return distance**2, 2 * distance / x.chosen_tokens, -2 * distance / x.rejected_tokens


def numpy_simpo(x: SimpleNamespace) -> Numbers:
    s = sigmoid(0.35 * (x.chosen / x.chosen_tokens - x.rejected / x.rejected_tokens) - 0.7)
    return -np.log(s), -0.35 * (1 - s) / x.chosen_tokens, 0.35 * (1 - s) / x.rejected_tokens


def numpy_orpo(x: SimpleNamespace) -> Numbers:
    p, q = np.exp(x.chosen / x.chosen_tokens), np.exp(x.rejected / x.rejected_tokens)
    s = sigmoid(np.log(p / (1 - p) / (q / (1 - q))))
    push = 0.25 * (1 - s)
    losses = -np.log(p) - 0.25 * np.log(s)
    return losses, (-1 - push / (1 - p)) / x.chosen_tokens, push / (1 - q) / x.rejected_tokens


def numpy_sft(x: SimpleNamespace) -> Numbers:
    return -x.chosen / x.chosen_tokens, -1 / x.chosen_tokens, 0 * x.rejected


INDEPENDENT: dict[str, Callable[[SimpleNamespace], Numbers]] = {
    "dpo": numpy_dpo, "ipo": numpy_ipo, "simpo": numpy_simpo, "orpo": numpy_orpo, "sft": numpy_sft,
}  # fmt: skip


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("name", POLICY_LOSSES)
def test_values_and_gradients(name: str, autocast: bool, logps: AnswerLogps) -> None:
    """Autocast changes nothing."""
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = POLICY_LOSSES[name](logps, SETTINGS)
        loss.backward()
    arrays = {field: tensor.detach().double().numpy() for field, tensor in vars(logps).items()}
    losses, d_chosen, d_rejected = INDEPENDENT[name](SimpleNamespace(**arrays))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(losses.mean(), rel=1e-6)
    np.testing.assert_allclose(logps.chosen.grad, d_chosen / PAIRS, rtol=1e-5, atol=1e-7)
    rejected = torch.zeros(PAIRS) if logps.rejected.grad is None else logps.rejected.grad
    np.testing.assert_allclose(rejected, d_rejected / PAIRS, rtol=1e-5, atol=1e-7)


def trl_ipo(logps: AnswerLogps, cpo: Callable[..., Tensor]) -> Tensor:
    """TRL's IPO without a reference, of log-ratios."""
    ratios = (
        a - b for a, b in zip(logps.per_token(logps.answers), logps.per_token(logps.references), strict=True)
    )
    return cpo("ipo", *ratios)


def test_trl(logps: AnswerLogps) -> None:
    """The methods of TRL's trainers, which take means per token; 0.25 is the ORPO trainer's beta and our alpha."""
    cpo_trainer = pytest.importorskip("trl.experimental.cpo").CPOTrainer
    orpo_trainer = pytest.importorskip("trl.experimental.orpo").ORPOTrainer
    place = SimpleNamespace(device="cpu")

    def cpo(loss_type: str, chosen: Tensor, rejected: Tensor) -> Tensor:
        trainer = SimpleNamespace(
            alpha=0.0, beta=0.35, simpo_gamma=0.7, label_smoothing=0.0, loss_type=loss_type, accelerator=place
        )
        return cpo_trainer.cpo_loss(trainer, chosen, rejected)[0].mean()

    answers = logps.per_token(logps.answers)
    odds = orpo_trainer.odds_ratio_loss(SimpleNamespace(beta=0.25, accelerator=place), *answers)[0]
    theirs = {
        "ipo": trl_ipo(logps, cpo),
        "simpo": cpo("simpo", *answers),
        "orpo": -answers[0].mean() - odds.mean(),
    }
    for name, loss in theirs.items():
        sides = (logps.chosen, logps.rejected)
        wanted = torch.autograd.grad(loss, sides, retain_graph=True)
        found = POLICY_LOSSES[name](logps, SETTINGS)
        torch.testing.assert_close(found, loss, rtol=1e-6, atol=1e-6)
        for ours, other in zip(torch.autograd.grad(found, sides), wanted, strict=True):
            torch.testing.assert_close(ours, other, rtol=1e-5, atol=1e-6)


def test_by_hand() -> None:
    assert ipo_loss(*vectors(-1, -2, -1.5, -1.5), beta=0.1).item() == pytest.approx(16, abs=1e-5)
    assert simpo_loss(*vectors(-1, -2), beta=2.0, target_margin=0.5).item() == pytest.approx(
        0.201413, abs=1e-6
    )
    half, quarter = vectors(math.log(0.5), math.log(0.25))
    assert orpo_loss(half, quarter, odds_weight=0.1).item() == pytest.approx(0.721916, abs=1e-6)
    assert sft_loss(torch.tensor([-1.0, -4.0])).item() == 2.5
    assert each_reward_penalty(*vectors(1, -0.5)).item() == 1.25
    assert sum_reward_penalty(*vectors(1, -0.5)).item() == 0.25


def test_ipo_is_lowest_at_its_target() -> None:
    """h = 1 / (2 beta) = 2: no loss and no gradient there, and the same loss on both sides."""
    policy = vectors(-1.0, -3.5)
    loss = ipo_loss(*policy, *vectors(-2.0, -2.5), beta=0.25)
    assert loss.item() == 0 and torch.autograd.grad(loss, policy) == (0, 0)
    above, below = (ipo_loss(*vectors(-1.0 + x, -3.5, -2.0, -2.5), beta=0.25) for x in (1, -1))
    assert above.item() == below.item() == 1


def test_sft_is_orpo_without_odds(logps: AnswerLogps) -> None:
    found = POLICY_LOSSES["orpo"](logps, SETTINGS.model_copy(update={"odds_weight": 0.0}))
    assert found.item() == POLICY_LOSSES["sft"](logps, SETTINGS).item()


@pytest.mark.parametrize("sure", [0.0, -1e-12, -1e-7, -1e-4])
def test_orpo_of_sure_answers_is_finite(sure: float) -> None:
    """Answers of a few tokens get probabilities that round to 1, whose odds are infinite."""
    for point in ((sure, -3.0), (-3.0, sure), (sure, sure)):
        chosen, rejected = vectors(*point)
        loss = orpo_loss(chosen, rejected)
        loss.backward()
        odds = [-math.log(-math.expm1(min(x, -(2**-23)))) + x for x in point]
        wanted = -point[0] + 0.1 * np.logaddexp(0, odds[1] - odds[0])
        assert loss.item() == pytest.approx(wanted, rel=1e-5, abs=1e-6)
        assert math.isfinite(chosen.grad.item()) and math.isfinite(rejected.grad.item())


def test_penalties_by_autograd() -> None:
    """each: 2 r / pairs; sum: the same for both answers of a pair, so that margins stay free."""
    chosen = torch.tensor([1.0, -2.0, 0.5], requires_grad=True)
    rejected = torch.tensor([-0.5, 3.0, 0.25], requires_grad=True)
    grads = torch.autograd.grad(each_reward_penalty(chosen, rejected), (chosen, rejected))
    assert torch.allclose(grads[0], 2 / 3 * chosen) and torch.allclose(grads[1], 2 / 3 * rejected)
    grads = torch.autograd.grad(sum_reward_penalty(chosen, rejected), (chosen, rejected))
    assert torch.allclose(grads[0], 2 / 3 * (chosen + rejected)) and torch.equal(grads[0], grads[1])


def test_registry_has_the_names_of_the_settings() -> None:
    def literals(field: str) -> set[str]:
        return set(get_args(AlignmentSettings.model_fields[field].annotation))

    assert set(POLICY_LOSSES) == literals("policy") - {"none", "kl"}
    assert set(REWARD_LOSSES) == literals("dph") - {"none"}
    assert set(REWARD_PENALTIES) == literals("reward_penalty") - {"none"}
    assert REWARD_LOSSES["separable"] is separable_dph_loss
    assert REWARD_LOSSES["contrastive"] is contrastive_dph_loss
    assert REWARD_PENALTIES["each"] is each_reward_penalty and REWARD_PENALTIES["sum"] is sum_reward_penalty


@pytest.mark.parametrize("name", POLICY_LOSSES)
def test_reference_is_asked_for_where_it_is_read(name: str, logps: AnswerLogps) -> None:
    settings = SETTINGS.model_copy(update={"policy": name})
    without = replace(logps, reference_chosen=None, reference_rejected=None)
    if settings.needs_reference:
        with pytest.raises(PreftuneError, match=r"needs reference log-probabilities; run compute_reference"):
            POLICY_LOSSES[name](without, settings)
    else:
        assert POLICY_LOSSES[name](without, settings).item() == POLICY_LOSSES[name](logps, settings).item()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [False, True])
def test_fp32_for_half_inputs(dtype: torch.dtype, autocast: bool) -> None:
    """These inputs are exact in half precision, so the losses are those of fp32."""
    points = (-1.0, -2.0, -1.5, -1.5)
    halves = [vector.detach().to(dtype) for vector in vectors(*points)]
    for loss, count in (
        (ipo_loss, 4), (simpo_loss, 2), (orpo_loss, 2), (sft_loss, 1), (each_reward_penalty, 2), (sum_reward_penalty, 2),
    ):  # fmt: skip
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            found = loss(*halves[:count])
        assert found.dtype == torch.float32 and found.item() == loss(*vectors(*points[:count])).item()


@pytest.mark.parametrize("beta", [0.0, -0.1, math.nan, math.inf])
def test_bad_beta(beta: float) -> None:
    two = [torch.full((2,), -1.0)] * 2
    with pytest.raises(PreftuneError, match=r"IPO loss: beta is .* but must be above 0"):
        ipo_loss(*two, *two, beta=beta)
    with pytest.raises(PreftuneError, match=r"SimPO loss: beta is .* but must be above 0"):
        simpo_loss(*two, beta=beta)


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_bad_weights(value: float) -> None:
    two = [torch.full((2,), -1.0)] * 2
    with pytest.raises(PreftuneError, match=r"SimPO loss: target_margin is .* but must be at least 0"):
        simpo_loss(*two, target_margin=value)
    with pytest.raises(PreftuneError, match=r"ORPO loss: odds_weight is .* but must be at least 0"):
        orpo_loss(*two, odds_weight=value)


@pytest.mark.parametrize("shapes", [((3,), (3, 1)), ((3,), (1,)), ((), ()), ((0,), (0,))])
def test_shapes_that_would_broadcast_are_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    one, other = (torch.zeros(shape) for shape in shapes)
    for loss in (simpo_loss, orpo_loss, each_reward_penalty, sum_reward_penalty):
        with pytest.raises(
            PreftuneError, match=r"shapes .*; pass non-empty vectors of one length \[pairs\]$"
        ):
            loss(one, other)
    with pytest.raises(PreftuneError, match="IPO loss: the inputs have shapes"):
        ipo_loss(one, one, one, other)
    with pytest.raises(PreftuneError, match="SFT loss: the inputs have shapes"):
        sft_loss(torch.zeros(2, 1))
    with pytest.raises(PreftuneError, match="log-probabilities of answers: the inputs have shapes"):
        AnswerLogps(one, one, None, None, other, one)

"""The reward head's part of the objective, and the flipped labels."""

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from preftune.preference.terms import flip_labels, reward_terms, summarise
from preftune.settings.alignment import AlignmentSettings

CHOSEN, REJECTED = [1.0, 2.0, -0.5, 0.25], [-0.5, 2.0, 0.5, -3.0]


def settings(**changes: Any) -> AlignmentSettings:
    values = {"policy": "none", "training": {"steps": 1, "batch": 1, "learning_rate": 0.1}}
    return AlignmentSettings.model_validate(values | changes)


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


def expected_loss(dph: str, smoothing: float) -> float:
    """The mean over the pairs, from the formulas."""

    def smoothed(x: float) -> float:
        return -(1 - smoothing) * log_sigmoid(x) - smoothing * log_sigmoid(-x)

    pairs = list(zip(CHOSEN, REJECTED, strict=True))
    separable = [smoothed(chosen) + smoothed(-rejected) for chosen, rejected in pairs]
    contrastive = [smoothed(chosen - rejected) for chosen, rejected in pairs]
    return sum(separable if dph == "separable" else contrastive) / len(pairs)


def terms_of(settings: AlignmentSettings) -> tuple[list[Tensor], dict[str, Any]]:
    return reward_terms(torch.tensor(CHOSEN), torch.tensor(REJECTED), settings)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("dph", ["separable", "contrastive"])
def test_the_loss_is_weighted_and_logged_without_its_weight(dph: str, smoothing: float) -> None:
    (term,), logged = terms_of(settings(dph=dph, dph_weight=0.25, label_smoothing=smoothing))
    expected = expected_loss(dph, smoothing)
    assert float(logged["dph_loss"]) == pytest.approx(expected, abs=1e-6)
    assert term.item() == pytest.approx(0.25 * expected, abs=1e-6)
    assert set(logged) == {"dph_loss", "chosen_reward", "rejected_reward", "margin", "accuracy"}


@pytest.mark.parametrize(
    ("penalty", "expected"),
    [
        # r_w^2 + r_l^2 and (r_w + r_l)^2 of the four pairs, by hand
        ("each", (1.25 + 8 + 0.5 + 9.0625) / 4),
        ("sum", (0.25 + 16 + 0 + 7.5625) / 4),
    ],
)
def test_the_penalty_is_a_term_of_its_own(penalty: str, expected: float) -> None:
    terms, logged = terms_of(settings(dph="contrastive", reward_penalty=penalty, reward_penalty_weight=0.5))
    assert float(logged["reward_penalty"]) == pytest.approx(expected)
    assert terms[0].item() == pytest.approx(expected_loss("contrastive", 0.1), abs=1e-6)
    assert terms[1].item() == pytest.approx(0.5 * expected) and len(terms) == 2


def test_summary() -> None:
    """Means; an equal pair is no success."""
    found = summarise("implicit_", torch.tensor(CHOSEN), torch.tensor(REJECTED))
    assert {name: float(value) for name, value in found.items()} == {
        "implicit_chosen_reward": 0.6875,
        "implicit_rejected_reward": -0.25,
        "implicit_margin": 0.9375,
        "implicit_accuracy": 0.5,
    }


def test_what_is_logged_holds_no_graph() -> None:
    chosen = torch.tensor(CHOSEN, requires_grad=True)
    terms, logged = reward_terms(
        chosen, torch.tensor(REJECTED), settings(dph="separable", reward_penalty="sum")
    )
    assert all(term.requires_grad for term in terms)
    assert not any(value.requires_grad for value in logged.values())


@pytest.mark.parametrize(
    ("count", "share", "expected"), [(10, 0.0, 0), (10, 0.3, 3), (7, 0.2, 1), (200, 0.4, 80)]
)
def test_flipped_share(count: int, share: float, expected: int) -> None:
    found = flip_labels(count, share, seed=0)
    assert found.shape == (count,) and found.dtype == torch.bool and int(found.sum()) == expected


def test_flips_follow_the_seed_and_lie_anywhere() -> None:
    """The same for a seed, others for another one; over many seeds every pair is flipped about as often."""
    assert torch.equal(flip_labels(50, 0.2, 1), flip_labels(50, 0.2, 1))
    assert not torch.equal(flip_labels(50, 0.2, 1), flip_labels(50, 0.2, 2))
    counts = torch.stack([flip_labels(10, 0.3, seed) for seed in range(400)]).sum(dim=0)
    # binomial(400, 0.3): mean 120, standard deviation 9
    assert counts.min() > 120 - 5 * 9 and counts.max() < 120 + 5 * 9


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("label_smoothing", 0.5, "less than 0.5"),
        ("label_smoothing", -0.01, "greater than or equal to 0"),
        ("policy_label_smoothing", 0.5, "less than 0.5"),
        ("beta", 0.0, "greater than 0"),
        ("beta", -0.1, "greater than 0"),
        ("flipped", 0.5, "less than 0.5"),
        ("dph_weight", -1.0, "greater than or equal to 0"),
        ("head_learning_rate", 0.0, "greater than 0"),
        ("freeze", "head", "'none', 'blocks', 'layers', 'lora' or 'model'"),
        ("policy", "ppo", "'dpo', 'ipo', 'simpo', 'orpo', 'sft', 'kl' or 'none'"),
        ("dpo_weight", 1.0, "Extra inputs are not permitted"),
    ],
)
def test_settings_out_of_range_are_refused(key: str, value: object, sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence) as refusal:
        settings(**{"dph": "separable"} | {key: value})
    assert [error["loc"] for error in refusal.value.errors()] == [(key,)]

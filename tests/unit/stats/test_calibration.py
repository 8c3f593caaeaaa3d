"""Calibration of predicted preferences, against hand computation, scipy and scikit-learn."""

import math

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binomtest
from sklearn.metrics import brier_score_loss, log_loss

from preftune.stats.calibration import (
    TEMPERATURES,
    assess_reliability,
    bin_gaps,
    brier_losses,
    fit_temperature,
    log_losses,
    rank_pairs,
    split_halves,
    wilson_interval,
)


@pytest.mark.parametrize(("hits", "count"), [(0, 5), (7, 10), (40, 40)])
def test_wilson_interval_is_scipys(hits: int, count: int) -> None:
    expected = binomtest(hits, count).proportion_ci(method="wilson")
    assert wilson_interval(hits / count, count) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_reliability_of_two_bins() -> None:
    """Bin [.2, .3): mean .22, share 1/2; bin [.9, 1]: mean .95, share 1. ECE = (2 * .28 + 2 * .05) / 4."""
    predicted, observed = np.array([0.2, 0.24, 0.9, 1.0]), np.array([0.0, 1.0, 1.0, 1.0])
    found = assess_reliability(predicted, observed)
    assert [(one.predicted, one.observed, one.count) for one in found.bins] == [
        (pytest.approx(0.22), 0.5, 2),
        (pytest.approx(0.95), 1.0, 2),
    ]
    assert found.ece == pytest.approx(0.165)
    assert found.brier == pytest.approx((0.04 + 0.76**2 + 0.01) / 4)
    twice = assess_reliability(np.tile(predicted, 2), np.tile(observed, 2), seeds=2)
    assert [(one.low, one.high) for one in twice.bins] == [(one.low, one.high) for one in found.bins]


def test_losses_are_scikit_learns_whichever_answer_stands_first() -> None:
    generator = np.random.default_rng(0)
    logits, first = generator.normal(size=(50,)), generator.random(50) < 0.5
    predicted = expit(np.where(first, logits, -logits))
    assert brier_losses(logits).mean() == pytest.approx(brier_score_loss(first, predicted))
    assert log_losses(logits).mean() == pytest.approx(log_loss(first, predicted))
    assert np.abs(bin_gaps(logits, first).sum(axis=0)).sum() / 50 == pytest.approx(
        assess_reliability(predicted, first.astype(float)).ece
    )


def test_losses_by_hand() -> None:
    """Odds of 3 to 1: (1/4)^2, ln(4/3). An even prediction: 1/4, ln 2. Far off: the log loss is the margin itself."""
    logits = np.array([math.log(3), 0.0, -800.0])
    np.testing.assert_array_equal(rank_pairs(logits), [1, 0.5, 0])
    np.testing.assert_allclose(brier_losses(logits), [1 / 16, 1 / 4, 1])
    np.testing.assert_allclose(log_losses(logits), [math.log(4 / 3), math.log(2), 800])


def test_a_prediction_of_one_stands_in_the_last_bin() -> None:
    np.testing.assert_array_equal(bin_gaps(np.array([50.0]), np.array([False]))[0, :2], [expit(-50), 0])
    assert bin_gaps(np.array([-50.0]), np.array([False]))[0, -1] == pytest.approx(1)


@pytest.mark.parametrize(
    ("right", "temperature"), [(30, 2 / math.log(3)), (40, TEMPERATURES[0]), (10, TEMPERATURES[1])]
)
def test_temperature_of_equal_margins(right: int, temperature: float) -> None:
    """Margins of 2, `right` of 40 with the right sign: sigma(2 / T) is their share, up to the bounds of T."""
    margins = np.where(np.arange(40) < right, 2.0, -2.0)
    assert fit_temperature(margins) == pytest.approx(temperature, rel=1e-4)


def test_halves_are_seeded_and_of_equal_size() -> None:
    half = split_halves("pairs", 9)
    assert half.sum() == 4
    np.testing.assert_array_equal(half, split_halves("pairs", 9))
    assert any((half != split_halves("pairs", 9, seed)).any() for seed in (1, 2))

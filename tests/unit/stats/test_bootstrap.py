import time

import numpy as np
import pytest

from preftune.stats.bootstrap import (
    bootstrap_perplexities,
    paired_bootstrap_accuracy,
    paired_bootstrap_nll,
    resample_items,
    resample_sums,
)


def test_equal_systems_have_no_effect_and_no_interval() -> None:
    answers = {"a": np.array([[1.0, 0, 1, 1]]), "b": np.array([[0.0, 1]])}
    effect = paired_bootstrap_accuracy(answers, answers)
    assert (effect.effect, effect.low, effect.high) == (0, 0, 0)
    assert (effect.n_items, effect.n_seeds) == (6, 1)


def test_effect_is_the_difference_of_means_over_tasks_not_over_items() -> None:
    a = {"small": np.ones((1, 2)), "large": np.zeros((1, 98))}
    b = {"small": np.zeros((1, 2)), "large": np.zeros((1, 98))}
    assert paired_bootstrap_accuracy(a, b).effect == 0.5


def test_known_difference_is_recovered_and_pairing_narrows_the_interval() -> None:
    generator = np.random.default_rng(1)
    base = (generator.random((1, 200)) < 0.5).astype(float)
    better = base.copy()
    better[0, np.flatnonzero(base[0] == 0)[:30]] = 1
    paired = paired_bootstrap_accuracy({"t": better}, {"t": base})
    assert paired.effect == pytest.approx(0.15)
    assert 0 < paired.low < 0.15 < paired.high
    shuffled = generator.permutation(better, axis=1)
    loose = paired_bootstrap_accuracy({"t": shuffled}, {"t": base})
    assert loose.high - loose.low > paired.high - paired.low


def test_interval_covers_the_true_difference_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(2)
    covered = 0
    for _ in range(200):
        a = {"t": (generator.random((1, 150)) < 0.7).astype(float)}
        b = {"t": (generator.random((1, 150)) < 0.6).astype(float)}
        effect = paired_bootstrap_accuracy(a, b, resamples=400)
        covered += effect.low <= 0.1 <= effect.high
    assert 180 <= covered <= 200  # binomial(200, 0.95) lies there with probability 0.999


def test_spread_between_seeds_widens_the_interval() -> None:
    answers = (np.random.default_rng(3).random(60) < 0.5).astype(float)
    steady = {"t": np.stack([np.maximum(answers, 0.0)] * 3)}
    moved = {"t": np.stack([answers, np.ones(60), answers])}
    base = {"t": answers[None]}
    narrow, wide = paired_bootstrap_accuracy(steady, base), paired_bootstrap_accuracy(moved, base)
    assert narrow.high == narrow.low == 0
    assert wide.high - wide.low > 0.1
    assert wide.n_seeds == 1


def test_two_thousand_resamples_of_230_items_take_less_than_half_a_second() -> None:
    generator = np.random.default_rng(4)
    a = {f"t{k}": (generator.random((3, 12)) < 0.5).astype(float) for k in range(19)}
    started = time.perf_counter()
    paired_bootstrap_accuracy(a, a, resamples=2000)
    assert time.perf_counter() - started < 0.5


def test_results_do_not_change_between_calls_and_depend_on_the_seed() -> None:
    a, b = {"t": np.array([[1.0, 0, 1, 0, 1]])}, {"t": np.array([[0.0, 1, 1, 0, 0]])}
    assert paired_bootstrap_accuracy(a, b) == paired_bootstrap_accuracy(a, b)
    assert not np.array_equal(resample_items("t", 5, 10, 0), resample_items("t", 5, 10, 1))


def test_items_that_cannot_be_paired_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_bootstrap_accuracy({"t": np.ones((1, 3))}, {"t": np.ones((1, 4))})
    with pytest.raises(ValueError, match="share their tasks"):
        paired_bootstrap_accuracy({"t": np.ones((1, 3))}, {"u": np.ones((1, 3))})


def test_perplexity_is_over_all_tokens_and_its_difference_is_paired() -> None:
    nll, tokens = np.array([[10.0, 40.0]]), np.array([[10.0, 20.0]])
    replicates = bootstrap_perplexities(nll, tokens, "images", 2000)
    assert np.allclose(sorted(set(np.round(replicates, 6))), np.exp([1, 50 / 30, 2]))
    noise = np.random.default_rng(5).normal(0, 1, (1, 50))
    a, b, count = 20 + noise, 21 + noise, np.full((1, 50), 10.0)
    effect = paired_bootstrap_nll(a, count, b, count)
    assert effect.effect == pytest.approx(np.exp(a.sum() / 500) - np.exp(b.sum() / 500))
    assert effect.high < 0


def test_sums_are_those_of_the_drawn_items() -> None:
    """More resamples than are counted at once."""
    values = np.random.default_rng(0).normal(size=(7, 3))
    draws = resample_items("pairs", 7, 250)
    np.testing.assert_allclose(resample_sums(values, "pairs", 250), values[draws].sum(axis=1))

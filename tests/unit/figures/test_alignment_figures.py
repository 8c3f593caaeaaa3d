"""What the figures of alignments read and compute, against hand computation and scipy."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer

from preftune.errors import PreftuneError
from preftune.figures.costs import draw_alignment_cost, list_panels, read_dot
from preftune.figures.divergence import draw_accuracy_against_kl, read_points
from preftune.figures.noise import draw_label_noise, measure_curve, noise_curves
from preftune.figures.pairs import describe_pairs, draw_reward_distributions
from preftune.figures.reliability import assess_run, draw_reliability
from preftune.figures.settings import (
    CostFigureSettings,
    DriftFigureSettings,
    NoiseFigureSettings,
    ReliabilityFigureSettings,
    System,
)
from preftune.tables.pairs import read_pair_rewards
from preftune.tables.scores import ScoreStore
from tests.unit.tables.alignment_folders import write_binary, write_drift, write_questions, write_random_drift

STAMP = {"scale": "demo", "data": "embedded"}


def write_pairs(root: Path, run: str, seed: int, rewards: list[list[float]], gold: list[int]) -> Path:
    scores = {"log": np.zeros((len(gold), 2)), "reward": np.array(rewards)}
    return write_questions(root, run, seed, "ultrafeedback", "preference", ("x", "y"), gold, scores)


def write_kl(root: Path, run: str, seed: int, kl: float, nats: float = 3.0, length: float = 20.0) -> None:
    items: dict[str, dict[str, Any]] = {
        "answer": {"tokens": [10, 20], "kl": [10 * kl, 20 * kl]},
        "text": {"tokens": [5, 5], "nll": [5 * nats, 5 * nats]},
        "generation": {"length": [length, length], "repeated": [1, 1], "ngrams": [10, 10], "ended": [1, 1]},
    }
    write_drift(root, run, seed, items)


def test_pair_rewards_keep_candidate_order(tmp_path: Path) -> None:
    write_pairs(tmp_path, "dph-joint", 0, [[2.0, 1.0], [0.5, 1.5], [3.0, -1.0]], [0, 1, 1])
    (pairs,) = read_pair_rewards(ScoreStore([tmp_path]), "dph-joint").values()
    np.testing.assert_array_equal(pairs.rewards, [[2, 1], [0.5, 1.5], [3, -1]])
    np.testing.assert_array_equal(pairs.first_preferred, [True, False, False])
    np.testing.assert_array_equal(pairs.preferred - pairs.dispreferred, [1, 1, -4])
    assert describe_pairs(pairs) == "accuracy 66.7 %, mean margin -0.67, n 3"


def test_pairs_without_a_head_or_with_three_candidates(tmp_path: Path) -> None:
    write_binary(tmp_path, "sft", 0, "ultrafeedback", "preference", {"log": [True, False]})
    assert read_pair_rewards(ScoreStore([tmp_path]), "sft") == {}
    scores = {"log": np.zeros((1, 3)), "reward": np.array([[1.0, 0, 2]])}
    write_questions(tmp_path, "odd", 0, "ultrafeedback", "preference", ("x", "y", "z"), [0], scores)
    with pytest.raises(PreftuneError, match="a pair has not two candidates"):
        read_pair_rewards(ScoreStore([tmp_path]), "odd")


def test_rewards_drawn_from_their_own_model_are_calibrated(tmp_path: Path) -> None:
    """Labels drawn with probability sigma(r_a - r_b), the first candidate being preferred or not."""
    generator = np.random.default_rng(0)
    rewards = generator.normal(0, 1.5, (4000, 2))
    chance = 1 / (1 + np.exp(rewards[:, 1] - rewards[:, 0]))
    gold = (generator.random(4000) >= chance).astype(int)
    write_pairs(tmp_path, "dph-joint", 0, rewards.tolist(), gold.tolist())
    found = assess_run(read_pair_rewards(ScoreStore([tmp_path]), "dph-joint"))
    assert found.ece < 0.03
    assert found.brier == pytest.approx(float(np.mean(chance * (1 - chance))), abs=0.01)
    assert len(found.bins) == 10


def test_centred_separable_rewards_are_calibrated_at_half_the_difference(tmp_path: Path) -> None:
    """r_a = -r_b, and labels drawn with probability sigma(r_a) = sigma(delta / 2), where the separable loss puts it."""
    generator = np.random.default_rng(1)
    first = generator.normal(0, 1.5, 4000)
    chance = 1 / (1 + np.exp(-first))
    gold = (generator.random(4000) >= chance).astype(int)
    write_pairs(tmp_path, "dph-only", 0, np.stack([first, -first], axis=1).tolist(), gold.tolist())
    seeds = read_pair_rewards(ScoreStore([tmp_path]), "dph-only")
    half, whole = assess_run(seeds, 0.5), assess_run(seeds)
    assert half.ece < 0.03 and whole.ece > 0.08
    assert (
        half.brier == pytest.approx(float(np.mean(chance * (1 - chance))), abs=0.01)
        and half.brier < whole.brier
    )
    facts = {"policy": "none", "pooler": "bert", "label_smoothing": 0.1, "freeze": "none"}
    for loss, names in (("separable", ["σ(δ)", "σ(δ/2)"]), ("contrastive", ["σ(δ)"])):
        known = {"dph-only": {**facts, "dph": loss}}
        settings = ReliabilityFigureSettings.model_validate(
            {**STAMP, "shown": ["dph-only"], "settings": known}
        )
        (axes,) = draw_reliability([tmp_path], settings).axes
        labels = [text.get_text() for text in axes.get_legend().get_texts()]
        assert [label.split(":")[0] for label in labels] == names
        assert labels[-1].endswith(f"ECE {(half if loss == 'separable' else whole).ece:.3f}")
        assert axes.get_title() == f"dph-only\n{loss} loss"


def test_panels_are_those_of_runs_with_rewards(tmp_path: Path) -> None:
    write_pairs(tmp_path, "dph-only", 0, [[2.0, 1.0], [0.5, 1.5]], [0, 1])
    settings = ReliabilityFigureSettings.model_validate(
        {**STAMP, "shown": ["dph-joint", "dph-only"], "labels": {"dph-joint": "joint"}}
    )
    for figure in (draw_reward_distributions([tmp_path], settings), draw_reliability([tmp_path], settings)):
        (axes,) = figure.axes
        assert axes.get_title().startswith("dph-only")
        assert "Not run at this scale: joint." in figure.texts[1].get_text()
    assert axes.get_legend().get_texts()[0].get_text().startswith("σ(δ): Brier 0.")


FACTS = {
    "dph-frozen": {},
    "noise-sep-eps010-flip020": {"flipped": 0.2},
    "noise-sep-eps010-flip040": {"flipped": 0.4},
    "frozen-bert-sep-eps010": {},
    "frozen-sep-eps000": {"label_smoothing": 0.0},
    "frozen-identity-sep-eps010": {"pooler": "identity"},
    "dph-joint": {"freeze": "none", "flipped": 0.2},
}


def noise_settings() -> NoiseFigureSettings:
    base = {"dph": "separable", "policy": "none", "pooler": "bert", "label_smoothing": 0.1, "freeze": "model"}
    facts = {run: {**base, **own} for run, own in FACTS.items()}
    return NoiseFigureSettings.model_validate({**STAMP, "runs": list(FACTS), "settings": facts})


def test_noise_curves_join_runs_of_one_head() -> None:
    """A curve's unflipped end is the first frozen run with its pooler, loss and epsilon, whatever its name."""
    first, second, third = list(FACTS)[:3]
    assert noise_curves(noise_settings()) == {("separable", 0.1): {0.0: first, 0.2: second, 0.4: third}}


def test_noise_curve_is_the_reward_accuracy_of_held_out_pairs(tmp_path: Path) -> None:
    for run, share in zip(FACTS, (1.0, 0.75), strict=False):
        for seed in (0, 1):
            right = [place < 4 * share - seed for place in range(4)]
            write_binary(
                tmp_path, run, seed, "ultrafeedback", "preference", {"log": [False] * 4, "reward": right}
            )
    curve = noise_curves(noise_settings())["separable", 0.1]
    found = measure_curve(ScoreStore([tmp_path]), curve)
    assert {share: one.value for share, one in found.items()} == {0.0: 0.875, 0.2: 0.625}
    separable, contrastive = draw_label_noise([tmp_path], noise_settings()).axes
    (line,) = [line for line in separable.lines if line.get_label() == "ε = 0.1"]
    np.testing.assert_allclose(line.get_xydata(), [[0, 87.5], [20, 62.5]])
    assert contrastive.texts[0].get_text() == "not run at this scale"


def test_costs_are_changes_from_sft(tmp_path: Path) -> None:
    """Perplexity e^3.5 - e^3 and accuracy 25 - 75; the second seed is held against the only SFT seed."""
    scores, drift = tmp_path / "scores", tmp_path / "drift"
    write_kl(drift, "sft", 0, 0.0)
    write_binary(scores, "sft", 0, "wnli", "glue", {"log": [True, True, True, False]})
    for seed in (0, 1):
        write_kl(drift, "dpo-only", seed, 0.2 + 0.2 * seed, nats=3.5, length=30)
        write_binary(scores, "dpo-only", seed, "wnli", "glue", {"log": [True, False, False, False]})
        write_binary(scores, "dpo-only", seed, "boolq", "gpt4all", {"log": [True, True, True, True]})
    panels = list_panels(ScoreStore([scores]), ScoreStore([drift]), ("boolq",))
    dots = [read_dot(panel, "dpo-only") for panel in panels]
    assert all(dot is not None for dot in dots)
    assert [dot.value for dot in dots if dot] == pytest.approx(
        [0.3, float(np.exp(3.5) - np.exp(3)), -50, 30, 10]
    )
    kl, perplexity, accuracy = dots[0], dots[1], dots[2]
    assert kl is not None and perplexity is not None and accuracy is not None
    assert kl.seeds == pytest.approx((0.2, 0.4))
    assert perplexity.interval == pytest.approx((perplexity.value, perplexity.value))
    assert accuracy.interval is not None and accuracy.interval[1] <= 0  # paired: no item got better
    settings = CostFigureSettings.model_validate({**STAMP, "shown": ["dpo-only", "dph-joint"]})
    axes = draw_alignment_cost([scores], [drift], settings).axes
    assert [text.get_text() for text in axes[0].get_yticklabels()] == [
        "dpo-only",
        "dph-joint\n(not run at this scale)",
    ]
    assert all(any(isinstance(part, ErrorbarContainer) for part in one.containers) for one in axes)


def test_points_pair_the_seeds_that_both_measures_have(tmp_path: Path) -> None:
    for seed in (0, 1):
        right = {"log": [True] * 4, "reward": [True, True, True, seed == 0]}
        write_binary(tmp_path / "scores", "dph-joint", seed, "ultrafeedback", "preference", right)
    for seed in (1, 2):
        write_kl(tmp_path / "drift", "dph-joint", seed, 0.1 * seed)
    stores = ScoreStore([tmp_path / "scores"]), ScoreStore([tmp_path / "drift"])
    (point,) = read_points(*stores, System(run="dph-joint", score="reward", label=""))
    assert (point.seed, point.divergence, point.accuracy) == (1, pytest.approx(0.1), 0.75)
    assert read_points(*stores, System(run="dph-joint", score="implicit", label="")) == []


def test_divergence_axis_holds_zero_and_decades(tmp_path: Path) -> None:
    for run, kl in (("sft", 0.0), ("dph-joint", 0.04)):
        write_random_drift(tmp_path / "drift", run, 0, kl, 3.0, 20)
        right = {"log": [True, False], "reward": [True, True]} if run != "sft" else {"log": [True, False]}
        write_binary(tmp_path / "scores", run, 0, "ultrafeedback", "preference", right)
    figure = draw_accuracy_against_kl(
        [tmp_path / "scores"], [tmp_path / "drift"], DriftFigureSettings.model_validate(STAMP)
    )
    (axes,) = figure.axes
    assert axes.get_xscale() == "symlog"
    assert axes.get_xlim()[0] < 0 < 0.04 < axes.get_xlim()[1]
    drawn = {tuple(line.get_ydata()) for line in axes.lines[:-1] if len(line.get_ydata())}
    assert drawn == {(50.0,), (100.0,)}
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[0] == "SFT (log)" and labels[2] == "DPO only (implicit): not run at this scale"

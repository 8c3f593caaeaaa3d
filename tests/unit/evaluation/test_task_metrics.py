"""Metrics of hand-made candidate tables."""

import math

import numpy as np
import pandas as pd
import pytest

from preftune.errors import PreftuneError
from preftune.evaluation.metrics import compute_metrics, count_ties, predict


def table(
    predicted: list[int], gold: list[int], labels: list[str], golds: list[str] | None = None
) -> pd.DataFrame:
    """Documents whose best candidate is `predicted`, under both scores."""
    rows = []
    for i, (best, right) in enumerate(zip(predicted, gold, strict=True)):
        for candidate, label in enumerate(labels):
            score = -1.0 if candidate == best else -2.0
            rows.append(
                {
                    "document": f"d{i}",
                    "candidate": candidate,
                    "label": label,
                    "log_probability": 2 * score,
                    "tokens": 2,
                    "end_log_probability": -1.0,
                    "reward": score,
                    "is_gold": candidate == right,
                    "gold": golds[i] if golds else labels[right],
                }
            )
    return pd.DataFrame(rows)


def test_log_score_is_the_mean_and_reward_its_own() -> None:
    """Candidate 0: -6 over 3 tokens = -2; candidate 1: -5 over 2 = -2.5, though its sum is larger."""
    rows = table([0], [0], ["a", "b"])
    rows["log_probability"], rows["tokens"], rows["reward"] = [-6.0, -5.0], [3, 2], [0.1, 0.2]
    assert predict(rows, "log").predicted.tolist() == [0]
    assert predict(rows, "reward").predicted.tolist() == [1]


def test_classification_by_hand() -> None:
    """Gold 1 1 1 0 0, predicted 1 1 0 1 0: TP 2, FN 1, FP 1, TN 1.

    Accuracy 3/5; F1 = 2 * 2 / (2 * 2 + 1 + 1) = 2/3; Matthews = (2 * 1 - 1 * 1) / sqrt(3 * 3 * 2 * 2) = 1/6.
    """
    rows = table([1, 1, 0, 1, 0], [1, 1, 1, 0, 0], ["no", "yes"])
    metrics = compute_metrics(rows, ["accuracy", "f1", "matthews"], "log")
    assert metrics == pytest.approx({"accuracy": 0.6, "f1": 2 / 3, "matthews": 1 / 6})
    assert compute_metrics(rows, ["accuracy"], "reward") == {"accuracy": 0.6}


def test_correlations_by_hand() -> None:
    """Digits 1 2 4 against 1.5 2.5 2.0: Pearson by definition; ranks 1 2 3 and 1 3 2 give 0.5."""
    digits, similarities = [1, 2, 4], [1.5, 2.5, 2.0]
    rows = table(digits, [2, 3, 2], list("012345"), [str(value) for value in similarities])
    x, y = np.array(digits) - np.mean(digits), np.array(similarities) - np.mean(similarities)
    pearson = (x @ y) / math.sqrt((x @ x) * (y @ y))
    assert compute_metrics(rows, ["pearson", "spearman"], "log") == pytest.approx(
        {"pearson": pearson, "spearman": 0.5}
    )


def test_undefined_correlation_is_none() -> None:
    rows = table([3, 3], [1, 2], list("012345"), ["1.0", "2.0"])
    assert compute_metrics(rows, ["pearson", "spearman"], "log") == {"pearson": None, "spearman": None}


def test_constant_prediction_has_matthews_and_f1_zero() -> None:
    rows = table([0, 0], [0, 1], ["no", "yes"])
    assert compute_metrics(rows, ["matthews", "f1"], "log") == {"matthews": 0.0, "f1": 0.0}


def test_ties_go_to_the_first_candidate_and_are_counted() -> None:
    rows = table([1, 0], [0, 0], ["no", "yes"])
    rows.loc[rows["document"] == "d0", "reward"] = 0.25
    assert predict(rows, "reward").predicted.tolist() == [0, 0]
    assert (count_ties(rows, "reward"), count_ties(rows, "log")) == (1, 0)
    # The order of the rows does not decide.
    assert predict(rows.iloc[::-1], "reward").predicted.tolist() == [0, 0]


def test_faults() -> None:
    with pytest.raises(PreftuneError, match="f1 needs two candidates"):
        compute_metrics(table([1], [0], ["a", "b", "c"]), ["f1"], "log")
    rows = table([1], [0], ["negative", "positive"])
    with pytest.raises(PreftuneError, match="unknown metric 'bleu'"):
        compute_metrics(rows, ["bleu"], "log")
    with pytest.raises(PreftuneError, match="needs numbers"):
        compute_metrics(rows, ["pearson"], "log")
    with pytest.raises(PreftuneError, match="document d0 has a candidate without a reward score"):
        compute_metrics(rows.assign(reward=np.nan), ["accuracy"], "reward")
    with pytest.raises(PreftuneError, match="document d0 has no gold candidate: its label is hidden"):
        compute_metrics(rows.assign(is_gold=False), ["accuracy"], "log")
    with pytest.raises(PreftuneError, match="document d0 has 2 gold candidates"):
        compute_metrics(rows.assign(is_gold=True), ["accuracy"], "log")


def test_log_scores_of_whole_answers_and_of_characters() -> None:
    """Sums with the end: -6 - 1 = -7 and -5 - 3 = -8; characters: -6 / 1 and -5 / 4, lm-eval's acc_norm."""
    rows = table([0], [0], ["a", "bcde"]).assign(end_log_probability=[-1.0, -3.0])
    rows["log_probability"] = [-6.0, -5.0]
    assert predict(rows, "log_sum").predicted.tolist() == [0]
    assert predict(rows, "log_chars").predicted.tolist() == [1]

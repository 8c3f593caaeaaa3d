"""Metrics of a task from its table of candidates, and from nothing else.

The table holds one row per candidate of each document (see `preftune.evaluation.scoring`). The log score is
the mean log-probability per answer token, the reward score the reward head's value, the implicit score DPO's
log pi - log pi_ref of the whole answer; the best candidate is the
prediction, and a tie goes to the first candidate and is counted. Source: Hadji-Kyriacou and Arandjelovic
(2024), arXiv 2405.20053.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.metrics import f1_score, matthews_corrcoef

from preftune.errors import PreftuneError

CORRELATIONS = {"pearson": stats.pearsonr, "spearman": stats.spearmanr}
POSITIVE_LABEL = "yes"
SCORES = ("log", "implicit", "reward")


@dataclass(frozen=True)
class Predictions:
    """Predicted and gold candidate index of each document, in the table's order, and the number of ties."""

    documents: list[str]
    predicted: np.ndarray
    gold: np.ndarray
    gold_values: list[str]
    ties: int


def candidate_scores(table: pd.DataFrame, score: str) -> pd.Series:
    """The score of each row: `log` is log_probability / tokens, `reward` the reward, `implicit` the log_ratio."""
    if score == "log":
        return table["log_probability"] / table["tokens"]
    return table["log_ratio" if score == "implicit" else "reward"]


def predict(table: pd.DataFrame, score: str) -> Predictions:
    """The best candidate of every document under `score` (one of `SCORES`)."""
    scores = candidate_scores(table, score)
    if scores.isna().any():
        document = table.loc[scores.isna(), "document"].iloc[0]
        raise PreftuneError(
            f"document {document} has a candidate without a {score} score; evaluate this run again."
        )
    groups = (
        table.assign(score=scores).sort_values("candidate", kind="stable").groupby("document", sort=False)
    )
    documents = list(dict.fromkeys(table["document"]))
    rows = [_predict_one(groups.get_group(document)) for document in documents]
    return Predictions(
        documents,
        np.array([row[0] for row in rows]),
        np.array([row[1] for row in rows]),
        [row[2] for row in rows],
        sum(row[3] for row in rows),
    )


def _predict_one(group: pd.DataFrame) -> tuple[int, int, str, bool]:
    scores = group["score"].to_numpy()
    if group["is_gold"].sum() != 1:
        name = group["document"].iloc[0]
        raise PreftuneError(
            f"document {name} has {group['is_gold'].sum()} gold candidates; prepare its data set again."
        )
    best = int(scores.argmax())  # the first one of equals
    return (
        best,
        int(group["is_gold"].to_numpy().argmax()),
        str(group["gold"].iloc[0]),
        bool((scores == scores[best]).sum() > 1),
    )


def compute_metrics(table: pd.DataFrame, metrics: Sequence[str], score: str) -> dict[str, float | None]:
    """The named metrics, as fractions (accuracy, f1) or correlations, each between -1 and 1.

    F1's positive class is candidate 1, which must be labelled `yes`. Correlations (STS-B) are those of the
    predicted digit with the gold similarity. A correlation with a constant is undefined: None.

    Raises:
        PreftuneError: a metric is unknown or does not fit the table.
    """
    predictions = predict(table, score)
    return {metric: _metric(metric, predictions, table) for metric in metrics}


def count_ties(table: pd.DataFrame, score: str) -> int:
    """Number of documents whose best score is shared by several candidates."""
    return predict(table, score).ties


def _metric(metric: str, predictions: Predictions, table: pd.DataFrame) -> float | None:
    predicted, gold = predictions.predicted, predictions.gold
    if metric == "accuracy":
        return float((predicted == gold).mean())
    if metric == "matthews":
        return float(matthews_corrcoef(gold, predicted))
    if metric == "f1":
        labels = set(table.loc[table["candidate"] == 1, "label"])
        if labels != {POSITIVE_LABEL}:
            raise PreftuneError(
                f"f1 needs candidate 1 to be '{POSITIVE_LABEL}' but it is {sorted(labels)}; use accuracy."
            )
        return float(f1_score(gold == 1, predicted == 1, zero_division=0.0))
    if metric in CORRELATIONS:
        return _correlation(metric, predictions)
    raise PreftuneError(
        f"unknown metric '{metric}'; choose accuracy, f1, matthews, {' or '.join(CORRELATIONS)}"
    )


def _correlation(metric: str, predictions: Predictions) -> float | None:
    try:
        values = np.array([float(value) for value in predictions.gold_values])
    except ValueError as error:
        raise PreftuneError(
            f"{metric} needs numbers as gold values ({error}); use accuracy for this task."
        ) from error
    if len(values) < 2:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        result = float(CORRELATIONS[metric](predictions.predicted, values).statistic)
    return None if np.isnan(result) else result

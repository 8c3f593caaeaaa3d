"""Metrics of a task from its table of candidates, and from nothing else.

The table holds one row per candidate of each document (see `preftune.evaluation.scoring`). The log score is
the mean log-probability per answer token, `log_sum` that of the whole answer with its end, `log_chars` that of the answer
a character (lm-eval's acc_norm), the reward score the reward head's value, the implicit score DPO's log pi - log pi_ref of
the whole answer; the best candidate is the prediction, and a tie goes to the first candidate and is counted. Source: Hadji-Kyriacou and Arandjelovic
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
LOG_SCORES = ("log", "log_sum", "log_chars")
SCORES = (*LOG_SCORES, "implicit", "reward")


@dataclass(frozen=True)
class Predictions:
    """Predicted and gold candidate index of each document, in the table's order, and the number of ties."""

    documents: list[str]
    predicted: np.ndarray
    gold: np.ndarray
    gold_values: list[str]
    ties: int


def candidate_scores(table: pd.DataFrame, score: str) -> pd.Series:
    """The score of each row, by one of `SCORES`."""
    if score == "log":
        return table["log_probability"] / table["tokens"]
    if score == "log_sum":
        return table["log_probability"] + table["end_log_probability"]
    if score == "log_chars":
        return table["log_probability"] / table["label"].str.len()
    return table["log_ratio" if score == "implicit" else "reward"]


def predict(table: pd.DataFrame, score: str) -> Predictions:
    """The best candidate of every document under `score` (one of `SCORES`).

    Raises:
        PreftuneError: a candidate has no such score, or a document not exactly one gold candidate.
    """
    scores = candidate_scores(table, score)
    if scores.isna().any():
        document = table.loc[scores.isna(), "document"].iloc[0]
        raise PreftuneError(
            f"document {document} has a candidate without a {score} score; evaluate this run again."
        )
    codes, documents = pd.factorize(table["document"])
    order = np.lexsort((table["candidate"], codes))
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    sizes = np.diff(starts, append=len(order))
    values, is_gold = scores.to_numpy(dtype=float)[order], table["is_gold"].to_numpy(dtype=bool)[order]
    _check_gold(documents, np.add.reduceat(is_gold.astype(int), starts))
    best = values == np.repeat(np.maximum.reduceat(values, starts), sizes)
    places = np.arange(len(order)) - np.repeat(starts, sizes)
    # The first of equals: the lowest place among the best.
    predicted = np.minimum.reduceat(np.where(best, places, len(order)), starts)
    return Predictions(
        list(documents),
        predicted,
        np.add.reduceat(np.where(is_gold, places, 0), starts),
        [str(value) for value in table["gold"].to_numpy()[order][starts]],
        int((np.add.reduceat(best.astype(int), starts) > 1).sum()),
    )


def _check_gold(documents: pd.Index, counts: np.ndarray) -> None:
    for document, count in zip(documents[counts != 1], counts[counts != 1], strict=True):
        if count == 0:
            raise PreftuneError(
                f"document {document} has no gold candidate: its label is hidden or outside its candidates; score a labelled split."
            )
        raise PreftuneError(f"document {document} has {count} gold candidates; prepare its data set again.")


def compute_metrics(table: pd.DataFrame, metrics: Sequence[str], score: str) -> dict[str, float | None]:
    """The named metrics, as fractions (accuracy, f1) or correlations, each between -1 and 1.

    F1's positive class is label 1 of two. Correlations (STS-B) are those of the
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
        if table["candidate"].max() != 1:
            raise PreftuneError(
                f"f1 needs two candidates, of which label 1 is the positive one, but there are {table['candidate'].max() + 1}: use "
                "accuracy."
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

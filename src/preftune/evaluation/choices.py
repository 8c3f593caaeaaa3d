"""What a choice among sampled answers is worth, question by question. Light, because tables and figures read it too."""

from collections.abc import Sequence
from math import comb

import numpy as np
import pandas as pd

CHOOSERS = ("reward", "log", "implicit")
"""Scores of an answer that can choose one; the others that an answer is compared with know more, or nothing."""
COLUMNS = ("task", "document", "sample", "text", "tokens", "ended", *CHOOSERS, "right", "greedy")


def list_counts(samples: int) -> list[int]:
    """The numbers of samples that are chosen among: 1, 2, 4, ..., and all."""
    return sorted({2**power for power in range(samples.bit_length())} | {samples})


def judge_choices(answers: pd.DataFrame) -> pd.DataFrame:
    """One row a question, sorted by task and document, from answers with the columns of `COLUMNS`.

    Returns:
        task, document; random: share of the samples that are right, which is what a choice by chance is right with; greedy:
        whether the greedy answer is right; disagree: whether some samples are right and others are not; for n of
        `list_counts`, over all ways to draw n of the samples: `reward@n`, `log@n`, `implicit@n`, the chance that the one
        with the highest score is right (of equal scores, the one sampled first), NaN where the run has no such score; and
        `oracle@n`, the chance that any is.

    Raises:
        ValueError: a question has another number of samples than the others.
    """
    ordered = answers.sort_values(["task", "document", "sample"], kind="stable", ignore_index=True)
    rows = [_judge(name, group) for name, group in ordered.groupby(["task", "document"], sort=True)]
    if len({tuple(row) for row in rows}) > 1:
        raise ValueError("the questions have different numbers of samples")
    return pd.DataFrame(rows)


def _judge(name: tuple[str, str], group: pd.DataFrame) -> dict[str, str | float]:
    sampled = group[~group["greedy"]]
    right = sampled["right"].to_numpy(dtype=float)
    found: dict[str, str | float] = {"task": name[0], "document": name[1], "random": right.mean()}
    found["greedy"] = float(group.loc[group["greedy"], "right"].iloc[0])
    found["disagree"] = float(right.max() - right.min())
    for count in list_counts(len(right)):
        best_first = place_weights(len(right), count)
        for score in CHOOSERS:
            values = sampled[score].to_numpy(dtype=float)
            order = np.argsort(-values, kind="stable")
            found[f"{score}@{count}"] = float("nan") if np.isnan(values).any() else best_first @ right[order]
        found[f"oracle@{count}"] = 1 - comb(int((right == 0).sum()), count) / comb(len(right), count)
    return found


def place_weights(samples: int, count: int) -> np.ndarray:
    """How likely each place of a ranking, best first [samples], is the best of `count` samples drawn without replacement.

    The place i (from 0) is drawn, and the others of the draw come from the samples - 1 - i behind it.
    """
    ways = [comb(samples - 1 - place, count - 1) for place in range(samples)]
    return np.array(ways) / comb(samples, count)


def summarise_choices(answers: pd.DataFrame) -> dict[str, dict[str, float | None]]:
    """The mean of each quantity, and the number of prompts, by task; None for a score that the run does not have."""
    judged = judge_choices(answers).groupby("task")
    names: Sequence[str] = [name for name in judged.obj.columns if name not in ("task", "document")]
    means, counts = judged[list(names)].mean(), judged.size()
    return {
        str(task): {"prompts": int(counts[task])}
        | {name: None if np.isnan(means.loc[task, name]) else float(means.loc[task, name]) for name in names}
        for task in means.index
    }

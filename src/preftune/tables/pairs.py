"""Rewards of pairs: the gold candidate of each question against every other one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from preftune.errors import PreftuneError
from preftune.stats.bootstrap import Array
from preftune.tables.averages import suite_tasks
from preftune.tables.scores import POINTS, REMEDY, ScoreStore, read_points

# Their answers are grades, of which the nearest is hardly wrong: no pairs of a right answer and a wrong one.
GRADED = ("stsb",)


@dataclass(frozen=True)
class PairRewards:
    """Rewards [pairs, 2] of two candidates in their order, whether the first is preferred [pairs], their question [pairs]."""

    rewards: Array
    first_preferred: NDArray[np.bool_]
    documents: NDArray[np.str_]

    @property
    def preferred(self) -> Array:
        """Rewards of the preferred answers [pairs]."""
        return np.where(self.first_preferred, self.rewards[:, 0], self.rewards[:, 1])

    @property
    def dispreferred(self) -> Array:
        """Rewards of the dispreferred answers [pairs]."""
        return np.where(self.first_preferred, self.rewards[:, 1], self.rewards[:, 0])


def rewarded_tasks(store: ScoreStore, run: str, suites: tuple[str, ...]) -> list[str]:
    """Tasks of the suites that a run's reward head has scored, without those whose answers are grades."""
    tasks = [task for task in suite_tasks(store, run, suites) if task not in GRADED]
    return [task for task in tasks if store.has_score(run, task, "reward")]


def read_pair_rewards(store: ScoreStore, run: str) -> dict[int, PairRewards]:
    """Rewards of a run's held-out pairs by seed, of all preference tasks together; empty without a reward head."""
    found: dict[int, list[PairRewards]] = {}
    for task in rewarded_tasks(store, run, ("preference",)):
        for seed in store.seeds(run, task):
            pairs = read_pairs(store, run, seed, task)
            if len(np.unique(pairs.documents)) < len(pairs.documents):
                raise PreftuneError(
                    f"{store.path(run, seed, task)}: a pair has not two candidates: {REMEDY}."
                )
            found.setdefault(seed, []).append(pairs)
    return {
        seed: PairRewards(
            np.concatenate([part.rewards for part in parts]),
            np.concatenate([part.first_preferred for part in parts]),
            np.concatenate([part.documents for part in parts]),
        )
        for seed, parts in sorted(found.items())
    }


def read_pairs(store: ScoreStore, run: str, seed: int, task: str) -> PairRewards:
    """Rewards of one task's pairs, sorted by question and by the other candidate; errors are those of `pair_candidates`."""
    pairs = pair_candidates(store, run, seed, task, "reward")
    first = (pairs["candidate_gold"] < pairs["candidate"]).to_numpy(dtype=bool)
    both = pairs[["points_gold", "points"]].to_numpy(dtype=float)
    documents = pairs["document"].to_numpy(dtype=np.str_)
    return PairRewards(np.where(first[:, None], both, both[:, ::-1]), first, documents)


def pair_candidates(store: ScoreStore, run: str, seed: int, task: str, score: str) -> pd.DataFrame:
    """The gold candidate of each question against every other one, by one score, sorted by question and other candidate.

    Columns: document; candidate and points (the score) of the other one; candidate_gold and points_gold.

    Raises:
        PreftuneError: there are no items, a score is not a finite number, or a question has not one gold answer and another one.
    """
    path = store.path(run, seed, task)
    frame = store.table(run, seed, task, ("document", "candidate", "is_gold", *POINTS[score]))
    if frame is None:
        raise PreftuneError(f"{path} has no items beside it: {REMEDY}.")
    points = read_points(frame, score, path.with_suffix(".parquet")).astype(float)
    if not np.isfinite(points).all():
        raise PreftuneError(f"{path}: a {score} score is not finite: {REMEDY}.")
    rows = frame[["candidate"]].assign(document=frame["document"].astype(str), points=points)
    chosen = frame["is_gold"].to_numpy(dtype=bool)
    gold, others = rows[chosen], rows[~chosen]
    if not set(gold["document"]) == set(others["document"]) or gold["document"].duplicated().any():
        raise PreftuneError(f"{path}: a question has not one gold answer and another one: {REMEDY}.")
    others = others.sort_values(["document", "candidate"], kind="stable")
    return others.merge(gold, on="document", suffixes=("", "_gold"))

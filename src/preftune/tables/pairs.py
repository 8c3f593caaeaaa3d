"""Rewards of pairs: the gold candidate of each question against every other one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preftune.errors import PreftuneError
from preftune.stats.bootstrap import Array
from preftune.tables.averages import suite_tasks
from preftune.tables.scores import REMEDY, ScoreStore


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
    """Tasks of the suites that a run's reward head has scored."""
    return [task for task in suite_tasks(store, run, suites) if store.has_score(run, task, "reward")]


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
    """Rewards of one task's pairs, sorted by question and by the other candidate.

    Raises:
        PreftuneError: there are no items, a reward is not a number, or a question lacks a gold or another candidate.
    """
    path = store.path(run, seed, task)
    frame = store.table(run, seed, task, ("document", "candidate", "reward", "is_gold"))
    if frame is None:
        raise PreftuneError(f"{path} has no items beside it: {REMEDY}.")
    if not np.isfinite(frame["reward"].to_numpy(dtype=float)).all():
        raise PreftuneError(f"{path}: a reward is not a number: {REMEDY}.")
    rows = frame.sort_values(["document", "candidate"], kind="stable")
    rows = rows[["document", "candidate", "reward", "is_gold"]]
    chosen = rows["is_gold"].astype(bool)
    gold = rows[chosen].drop_duplicates("document")
    pairs = rows[~chosen].merge(gold, on="document", suffixes=("", "_gold"))
    documents = pairs["document"].astype(str).to_numpy(dtype=np.str_)
    if len(np.unique(documents)) < rows["document"].nunique():
        raise PreftuneError(f"{path}: a question lacks a gold candidate or another one: {REMEDY}.")
    first = (pairs["candidate_gold"] < pairs["candidate"]).to_numpy(dtype=bool)
    both = pairs[["reward_gold", "reward"]].to_numpy(dtype=float)
    return PairRewards(np.where(first[:, None], both, both[:, ::-1]), first, documents)

"""Pairwise accuracy by section, in the manner of RewardBench, of every score of every run.

A pair is a question's gold answer against one of the others; it is won where the gold one has the higher score. A section
counts all pairs of its tasks alike, and overall is the plain mean of the sections (Lambert et al. 2024, arXiv 2403.13787).
RewardBench counts a tie as lost, which would depend on rounding for scores that tie by construction: here it counts one half,
and the share of ties is stated. RewardBench's own data have its own sections, where code and mathematics weigh alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from preftune.data import reward_bench
from preftune.errors import PreftuneError
from preftune.stats.bootstrap import Array, resample_seeds, resample_sums
from preftune.tables.averages import own_scores
from preftune.tables.measures import RESAMPLES, Measure, combine
from preftune.tables.pairs import GRADED, pair_candidates
from preftune.tables.scores import REMEDY, ScoreStore
from preftune.tables.settings import AlignmentTableSettings
from preftune.tables.sheet import Sheet
from preftune.tables.sources import Sources

GLUE = (
    "cola", "sst2", "mrpc", "qqp", "stsb", "mnli-matched", "mnli-mismatched", "mnli-validation", "qnli", "rte", "wnli",
)  # fmt: skip
SECTIONS = {
    "chat": ("ultrafeedback", "orca-dpo-pairs"),
    "reasoning": (
        "gsm8k", "winogrande", "piqa", "hellaswag", "openbookqa", "arc-easy", "arc-challenge",
    ),
    "reading": (
        "race-middle", "race-high", "race-middle-validation", "race-high-validation", "boolq", "squad-answerable",
    ),
    "faithfulness": ("squad-unanswerable", "passage-contradiction", "truthfulqa-mc1"),
    "language": tuple(task for task in GLUE if task not in GRADED),
}  # fmt: skip
REWARD_BENCH = "reward-bench"


@dataclass(frozen=True)
class Stratum:
    """Pairs of a task, whose questions are resampled together: their number by question [questions], and of each seed how many
    were won (a tie counts one half) and how many were ties [seeds, questions].
    """

    task: str
    documents: NDArray[np.str_]
    pairs: Array
    won: Array
    ties: Array
    split: str
    files: tuple[str, ...]

    def only(self, name: str, kept: NDArray[np.bool_]) -> Stratum:
        """The questions that are `kept` [questions], under a name of their own."""
        own = (self.documents[kept], self.pairs[kept], self.won[:, kept], self.ties[:, kept])
        return Stratum(name, *own, self.split, self.files)


def tabulate_pairwise(sheet: Sheet, sources: Sources, settings: AlignmentTableSettings) -> None:
    """Sections, overall, ties and number of pairs of every run, by each of its scores; with RewardBench's own where it was run."""
    store = sources.scores
    benched = any(store.seeds(run, REWARD_BENCH) for run in settings.runs)
    for run in settings.runs:
        for score in own_scores(store, run):
            add_sections(sheet, store, run, score)
            if benched:
                add_reward_bench(sheet, store, run, score)


def add_sections(sheet: Sheet, store: ScoreStore, run: str, score: str) -> None:
    """One row of the table."""
    row = f"{run} ({score})"
    seeds, strata = read_strata(store, run, score)
    sections = {
        name: measure_share(seeds, [one for one in strata if one.task in tasks], "won", name)
        for name, tasks in SECTIONS.items()
    }
    cells = (
        *((name, "pairwise_accuracy", measured) for name, measured in sections.items()),
        ("overall", "pairwise_accuracy", average(sections.values(), "sections")),
        ("ties", "ties", measure_share(seeds, strata, "ties", "all sections")),
        ("pairs", "compared_pairs", count_pairs(seeds, strata)),
    )
    for column, metric, measured in cells:
        missing = f"{score} scores of {run} on {', '.join(SECTIONS.get(column, ['any section']))}"
        sheet.add(row, column, metric, measured, run=run, score=score, missing=missing)


def add_reward_bench(sheet: Sheet, store: ScoreStore, run: str, score: str) -> None:
    """The cells of RewardBench's own pairs, in the same row."""
    seeds = store.seeds(run, REWARD_BENCH) if store.has_score(run, REWARD_BENCH, score) else []
    strata = split_subsets(read_stratum(store, run, seeds, REWARD_BENCH, score)) if seeds else []
    sections = {}
    for name, parts in reward_bench.SECTIONS.items():
        shares = [
            measure_share(seeds, [one for one in strata if one.task in part], "won", name) for part in parts
        ]
        sections[f"RewardBench {name}"] = average(shares, "parts")
    sections["RewardBench"] = average(sections.values(), "sections")
    for column, measured in sections.items():
        missing = f"{score} scores of {run} on {REWARD_BENCH}"
        sheet.add(
            f"{run} ({score})", column, "pairwise_accuracy", measured, run=run, score=score, missing=missing
        )


def split_subsets(stratum: Stratum) -> list[Stratum]:
    """The pairs of each subset, which the names of the documents begin with."""
    subsets = np.array([document.split("/")[0] for document in stratum.documents])
    return [stratum.only(str(name), subsets == name) for name in np.unique(subsets)]


def average(members: Iterable[Measure | None], of: str) -> Measure | None:
    """The plain mean of those that were measured, which have no question in common; None without any."""
    found = [member for member in members if member is not None]
    if not found:
        return None
    mean = combine(found, lambda columns: np.mean(columns, axis=0), f"mean over {len(found)} {of}")
    return None if mean is None else replace(mean, n_items=sum(member.n_items for member in found))


def read_strata(store: ScoreStore, run: str, score: str) -> tuple[tuple[int, ...], list[Stratum]]:
    """The pairs of all tasks of the sections that a run has scored so, and the seeds that have all of them."""
    tasks = [task for own in SECTIONS.values() for task in own if store.has_score(run, task, score)]
    seeds = sorted(set.intersection(*(set(store.seeds(run, task)) for task in tasks))) if tasks else []
    return tuple(seeds), [read_stratum(store, run, seeds, task, score) for task in tasks if seeds]


def read_stratum(store: ScoreStore, run: str, seeds: Sequence[int], task: str, score: str) -> Stratum:
    """The pairs of one task; its seeds must have answered the same questions."""
    found = [count_wins(store, run, seed, task, score) for seed in seeds]
    if any(list(one.index) != list(found[0].index) for one in found):
        raise PreftuneError(f"the seeds of {run} answered different questions of {task}: {REMEDY}.")
    pairs, won, ties = (np.stack([one[column] for one in found]) for column in ("pairs", "won", "ties"))
    files = tuple(store.path(run, seed, task).as_posix() for seed in seeds)
    split = str(store.read(run, seeds[0], task).get("split", ""))
    return Stratum(task, found[0].index.to_numpy(dtype=np.str_), pairs[0], won, ties, split, files)


def count_wins(store: ScoreStore, run: str, seed: int, task: str, score: str) -> pd.DataFrame:
    """By question, sorted: how many other answers the gold one is compared with (pairs), beats (won) and equals (ties).

    Errors are those of `pair_candidates`.
    """
    found = pair_candidates(store, run, seed, task, score)
    margins = (found["points_gold"] - found["points"]).to_numpy()
    columns = {"pairs": np.ones(len(margins)), "won": np.heaviside(margins, 0.5), "ties": margins == 0}
    return pd.DataFrame(columns, index=found["document"].to_numpy()).astype(float).groupby(level=0).sum()


def measure_share(
    seeds: Sequence[int], strata: Sequence[Stratum], count: Literal["won", "ties"], where: str
) -> Measure | None:
    """Share of the pairs of some tasks that are won, or tied, all pairs alike; replicates draw the questions of each task, with
    all their pairs, and seeds. None without any pair.
    """
    if not strata:
        return None
    total, drawn = np.zeros(1), np.zeros((RESAMPLES, 1))
    for stratum in strata:
        columns = np.column_stack([stratum.pairs, getattr(stratum, count).T])  # [questions, 1 + seeds]
        total, drawn = total + columns.sum(axis=0), drawn + resample_sums(columns, stratum.task, RESAMPLES)
    replicates = (drawn[:, 1:] / drawn[:, :1] * resample_seeds(len(seeds), RESAMPLES)).sum(axis=1)
    says = f"share of {int(total[0])} pairs {count} in {where}, mean over seeds"
    return _measure(seeds, strata, total[1:] / total[0], replicates, says)


def count_pairs(seeds: Sequence[int], strata: Sequence[Stratum]) -> Measure | None:
    """The number of pairs; None without any."""
    pairs = sum(float(stratum.pairs.sum()) for stratum in strata)
    return _measure(seeds, strata, np.full(len(seeds), pairs), None, "number of pairs") if strata else None


def _measure(
    seeds: Sequence[int], strata: Sequence[Stratum], values: Array, replicates: Array | None, says: str
) -> Measure:
    questions = sum(len(stratum.pairs) for stratum in strata)
    split = "+".join(sorted({stratum.split for stratum in strata} - {""}))
    files = tuple(file for stratum in strata for file in stratum.files)
    per_seed = dict(zip(seeds, map(float, values), strict=True))
    return Measure(per_seed, replicates, questions, split, files, says)

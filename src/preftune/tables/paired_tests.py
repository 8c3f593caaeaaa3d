"""Task by task: two systems on the same questions, with McNemar's exact test beside the paired bootstrap.

The pairs of systems are those that the claims compare by accuracy (config/claims.tsv), each with all the tasks on which any
claim compares it. The difference is that of the means over seeds, its interval the bootstrap's over items and seeds. Answers
of several seeds to one question are not independent, so their discordant answers cannot be added up: McNemar's test
(McNemar 1947), and its counts, are of the first seed of either system. Holm's correction (Holm 1979) is over the tasks of one
pair of systems.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from preftune.stats.bootstrap import Array
from preftune.tables.claims import Claim
from preftune.tables.comparisons import NotTestable, System, pair_answers
from preftune.tables.measures import Measure, measure_correctness
from preftune.tables.scores import ScoreStore
from preftune.tables.settings import AlignmentTableSettings
from preftune.tables.sheet import Sheet
from preftune.tables.sources import Sources

STATISTIC = "paired_bootstrap_accuracy"


@dataclass(frozen=True)
class Discordant:
    """Questions that only one of two models answers rightly, and the exact two-sided p-value of McNemar's test."""

    only_a: int
    only_b: int
    p_value: float


def tabulate_paired_tests(sheet: Sheet, sources: Sources, settings: AlignmentTableSettings) -> None:
    """Accuracy of two systems, difference, discordant answers and p-values, for every pair of systems and task."""
    for (a, b), tasks in list_comparisons(sources.claims).items():
        name = f"{a.run}:{a.score} − {b.run}:{b.score}"
        try:
            left, right, _ = pair_answers(a, b, tasks, sources.scores)
        except NotTestable as reason:
            sheet.add(name, "a", "accuracy", None, run=a.run, score=a.score, missing=str(reason))
            continue
        tests = {task: compare_answers(left[task][0], right[task][0]) for task in left}
        corrected = multipletests([test.p_value for test in tests.values()], method="holm")[1]
        for (task, test), p_value in zip(tests.items(), corrected, strict=True):
            add_test(sheet, sources.scores, f"{name}, {task}", (a, b), task, test, float(p_value))


def list_comparisons(claims: Iterable[Claim]) -> dict[tuple[System, System], list[str]]:
    """The pairs of systems whose accuracies the claims compare, with all suites and tasks of those claims."""
    found: dict[tuple[System, System], list[str]] = {}
    for claim in claims:
        if claim.statistic == STATISTIC:
            pair = System.parse(claim.a), System.parse(claim.b)
            found.setdefault(pair, []).extend(claim.tasks)
    return found


def compare_answers(a: Array, b: Array) -> Discordant:
    """McNemar's exact test of two models' answers [items], 1 where right; without discordant answers p is 1."""
    table = np.array([[np.sum((a == x) & (b == y)) for y in (1, 0)] for x in (1, 0)])
    return Discordant(int(table[0, 1]), int(table[1, 0]), float(mcnemar(table, exact=True).pvalue))


def add_test(
    sheet: Sheet, store: ScoreStore, row: str, systems: tuple[System, System], task: str, test: Discordant,
    corrected: float,
) -> None:  # fmt: skip
    """Add one row: both accuracies over all seeds, their difference, and the test of the first seeds."""
    measures = []
    for column, system in zip("ab", systems, strict=True):
        measured = measure_correctness(store, system.run, task, system.score)
        assert measured is not None
        sheet.add(row, column, "accuracy", measured, run=system.run, score=system.score)
        measures.append(measured)
    a, b = measures
    run, score = systems[0].run, systems[0].score
    sheet.add(row, "a − b", "accuracy_difference", subtract(a, b), run=run, score=score)
    exact = (
        ("only a right", "discordant", test.only_a),
        ("only b right", "discordant", test.only_b),
        ("McNemar p", "p_value", test.p_value),
        ("p, Holm", "p_value", corrected),
    )
    files = (a.files[0], b.files[0])
    for column, metric, value in exact:
        per_seed = {min(a.per_seed): float(value)}
        measured = Measure(
            per_seed, None, a.n_items, a.split, files, f"{column}, first seed of either system"
        )
        sheet.add(row, column, metric, measured, run=run, score=score)


def subtract(a: Measure, b: Measure) -> Measure:
    """a - b, whose replicates draw the same items for both systems; a seed that one lacks is held against its mean."""
    assert a.replicates is not None and b.replicates is not None
    seeds = sorted({*a.per_seed, *b.per_seed})
    per_seed = {seed: a.per_seed.get(seed, a.value) - b.per_seed.get(seed, b.value) for seed in seeds}
    files = tuple(dict.fromkeys((*a.files, *b.files)))
    says = f"{a.aggregation}, a ({len(a.per_seed)} seeds) - b ({len(b.per_seed)})"
    return Measure(per_seed, a.replicates - b.replicates, a.n_items, a.split, files, says, resampled=True)

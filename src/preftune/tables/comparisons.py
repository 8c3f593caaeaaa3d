"""Paired comparisons of two systems on the same items: the statistics that a claim can name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from preftune.adapters.parameters import paper_parameter_table
from preftune.errors import PreftuneError
from preftune.stats.bootstrap import (
    Array,
    Effect,
    bootstrap_means,
    paired_bootstrap_accuracy,
    paired_bootstrap_nll,
    percentile_interval,
)
from preftune.tables.forgetting import PASSAGES, TEXT, measure_text, read_passages
from preftune.tables.measures import Measure, correctness, measure_captions, require_same_items
from preftune.tables.scores import Losses, ScoreStore, stack


class NotTestable(Exception):
    """Why a comparison cannot be made from what was run."""


@dataclass(frozen=True)
class System:
    """One side of a comparison: a run and its score or metric."""

    run: str
    score: str

    @classmethod
    def parse(cls, text: str) -> System:
        """`run:score` or `run:metric`."""
        return cls(*text.split(":"))


@dataclass(frozen=True)
class Comparison:
    """Effect a - b with its interval, both in `unit`."""

    effect: float
    interval: tuple[float, float] | None
    n_items: int
    n_seeds: int
    unit: str
    files: tuple[str, ...]


def compare(statistic: str, a: System, b: System, tasks: Sequence[str], store: ScoreStore) -> Comparison:
    """The comparison named by a claim. Raises NotTestable when one side was not run."""
    return STATISTICS[statistic](a, b, tasks, store)


def _require(store: ScoreStore, *systems: System) -> None:
    absent = sorted({system.run for system in systems} - store.runs())
    if absent:
        raise NotTestable(f"{', '.join(absent)} {'is' if len(absent) == 1 else 'are'} not run")


def _tasks(store: ScoreStore, a: System, b: System, tasks: Sequence[str]) -> list[str]:
    """Tasks of the named suites (or named one by one) that both runs have."""
    _require(store, a, b)
    suites = store.suites(a.run)
    shared = set(suites) & set(store.suites(b.run))
    return sorted(task for task in shared if task in tasks or suites[task] in tasks)


def pair_answers(
    a: System, b: System, tasks: Sequence[str], store: ScoreStore
) -> tuple[dict[str, Array], dict[str, Array], tuple[str, ...]]:
    """Correct answers [seeds, items] of both systems by shared task, and the files. Raises NotTestable without any."""
    sides: tuple[dict[str, Array], dict[str, Array]] = ({}, {})
    files: list[str] = []
    for task in _tasks(store, a, b, tasks):
        found = [(system, correctness(store, system.run, task, system.score)) for system in (a, b)]
        if any(answers is None for _, answers in found):
            continue
        documents = {answers[1] for _, answers in found if answers is not None}
        if len(documents) > 1:
            raise PreftuneError(
                f"{a.run} and {b.run} answered different questions of {task}: evaluate both with one limit."
            )
        for side, (system, answers) in zip(sides, found, strict=True):
            assert answers is not None
            side[task] = answers[2]
            files += [store.path(system.run, seed, task).as_posix() for seed in answers[0]]
    if not sides[0]:
        raise NotTestable(f"{a.run}:{a.score} and {b.run}:{b.score} share no scored task")
    return (*sides, tuple(dict.fromkeys(files)))


def compare_accuracy(a: System, b: System, tasks: Sequence[str], store: ScoreStore) -> Comparison:
    """Difference of the mean over tasks of accuracy, in percentage points, over items and seeds."""
    left, right, files = pair_answers(a, b, tasks, store)
    effect = paired_bootstrap_accuracy(left, right)
    return _comparison(effect, 100, "points", files)


def _comparison(effect: Effect, factor: float, unit: str, files: tuple[str, ...]) -> Comparison:
    interval = (effect.low * factor, effect.high * factor)
    return Comparison(effect.effect * factor, interval, effect.n_items, effect.n_seeds, unit, files)


def compare_shift(a: System, b: System, tasks: Sequence[str], store: ScoreStore) -> Comparison:
    """Mean over tasks of the absolute change of the answers' log-probability a token, in nats."""
    points, replicates, files, items, seeds = [], [], [], 0, []
    for task in _tasks(store, a, b, tasks):
        changes = _changes(store, a.run, b.run, task)
        if changes is None:
            continue
        points.append(changes.mean())
        replicates.append(bootstrap_means(changes, task))
        items += changes.shape[1]
        seeds.append(len(changes))
        files += [
            store.path(run, seed, task).as_posix()
            for run in (a.run, b.run)
            for seed in store.seeds(run, task)
        ]
    if not points:
        raise NotTestable(f"{a.run} and {b.run} share no scored task and seed")
    low, high = percentile_interval(np.mean(replicates, axis=0))
    return Comparison(float(np.mean(points)), (low, high), items, min(seeds), "nats a token", tuple(files))


def _changes(store: ScoreStore, a: str, b: str, task: str) -> Array | None:
    """Absolute changes [shared seeds, documents], the mean over each document's candidates."""
    rows = []
    for seed in sorted(set(store.seeds(a, task)) & set(store.seeds(b, task))):
        left, right = _answers(store, a, seed, task), _answers(store, b, seed, task)
        if left is None or right is None:
            return None
        if left[0] != right[0]:
            raise PreftuneError(
                f"{a} and {b} answered different questions of {task}: evaluate both with one limit."
            )
        documents = np.unique([document for document, _ in left[0]], return_inverse=True)[1]
        rows.append(np.bincount(documents, np.abs(left[1] - right[1])) / np.bincount(documents))
    return stack(rows) if rows else None


def _answers(store: ScoreStore, run: str, seed: int, task: str) -> tuple[list[tuple[str, int]], Array] | None:
    """(document, candidate) of every answer in order, and its log-probability a token."""
    frame = store.table(run, seed, task, ("document", "candidate", "log_probability", "tokens"))
    if frame is None:
        return None
    frame = frame.sort_values(["document", "candidate"], kind="stable")
    names = list(zip(frame["document"], frame["candidate"], strict=True))
    return names, (frame["log_probability"] / frame["tokens"]).to_numpy(dtype=float)


def compare_perplexity(a: System, b: System, tasks: Sequence[str], store: ScoreStore) -> Comparison:
    """Difference of caption perplexity, paired over images."""
    _require(store, a, b)
    sides = [_losses(store, system) for system in (a, b)]
    images = {losses.images for side in sides for losses in side}
    if len(images) > 1:
        raise PreftuneError(
            f"{a.run} and {b.run} were scored on different images: evaluate both with one limit."
        )
    arrays: list[Array] = []
    for system, side in zip((a, b), sides, strict=True):
        blank = system.score == "perplexity_blank"
        arrays += [
            stack([one.nll_blank if blank else one.nll for one in side]),
            stack([one.tokens for one in side]),
        ]
    effect = paired_bootstrap_nll(arrays[0], arrays[1], arrays[2], arrays[3])
    runs = dict.fromkeys((a.run, b.run))
    files = [
        store.path(run, seed, "perplexity").as_posix()
        for run in runs
        for seed in store.seeds(run, "perplexity")
    ]
    return _comparison(effect, 1, "perplexity", tuple(files))


def _losses(store: ScoreStore, system: System) -> list[Losses]:
    found = [store.losses(system.run, seed, "perplexity") for seed in store.seeds(system.run, "perplexity")]
    losses = [one for one in found if one is not None]
    if not losses:
        raise NotTestable(f"{system.run} has no perplexity items")
    return losses


def compare_cider(a: System, b: System, tasks: Sequence[str], store: ScoreStore) -> Comparison:
    """Difference of CIDEr, times 100, paired over images."""
    _require(store, a, b)
    left, right = measure_captions(store, a.run, a.score), measure_captions(store, b.run, b.score)
    return _compare_measures(left, right, 100, "CIDEr x 100")


def compare_text(a: System, b: System, tasks: Sequence[str], store: ScoreStore) -> Comparison:
    """Difference of the perplexity of plain text, paired over passages."""
    _require(store, a, b)
    return _compare_measures(measure_text(store, a.run), measure_text(store, b.run), 1, "perplexity")


def _compare_measures(left: Measure | None, right: Measure | None, factor: float, unit: str) -> Comparison:
    if left is None or right is None or left.replicates is None or right.replicates is None:
        raise NotTestable(f"no {unit} of single items")
    require_same_items(left, right)
    files = tuple(dict.fromkeys((*left.files, *right.files)))
    low, high = percentile_interval(factor * (left.replicates - right.replicates))
    seeds = min(len(left.per_seed), len(right.per_seed))
    return Comparison(factor * (left.value - right.value), (low, high), left.n_items, seeds, unit, files)


def compare_text_shift(a: System, b: System, tasks: Sequence[str], store: ScoreStore) -> Comparison:
    """Mean absolute change of a passage's nats a token from b to a; b has one language model, whatever its seed."""
    _require(store, a, b)
    seeds = {system.run: store.seeds(system.run, TEXT) for system in (a, b)}
    if not all(seeds.values()):
        raise NotTestable(f"{a.run} and {b.run} have not both read plain text")
    (nll, tokens, names), (base, _, base_names) = (
        read_passages(store, run, own) for run, own in ((a.run, seeds[a.run]), (b.run, seeds[b.run][:1]))
    )
    if names != base_names:
        raise PreftuneError(f"{a.run} and {b.run} read different {PASSAGES}: evaluate both with one limit.")
    changes = np.abs(nll - base) / tokens
    low, high = percentile_interval(bootstrap_means(changes, PASSAGES))
    files = tuple(store.path(run, seed, TEXT).as_posix() for run, own in seeds.items() for seed in own)
    return Comparison(float(changes.mean()), (low, high), nll.shape[1], len(nll), "nats a token", files)


def compare_counts(a: System, b: System, tasks: Sequence[str], store: ScoreStore) -> Comparison:
    """Difference of two exact counts: of the paper's model shape, or numbers that perplexity.json states."""
    if a.score == "paper_parameters":
        difference = _paper_count(a.run) - _paper_count(b.run)
        return Comparison(float(difference), None, 0, 1, "parameters", ())
    _require(store, a, b)
    means, files, seeds = [], [], []
    for system in (a, b):
        found = store.seeds(system.run, "perplexity")
        stated = [store.read(system.run, seed, "perplexity").get(system.score) for seed in found]
        values = [float(value) for value in stated if isinstance(value, int | float)]
        if not values or len(values) < len(stated):
            raise NotTestable(f"{system.run} states no {system.score}")
        means.append(sum(values) / len(values))
        seeds.append(len(values))
        files += [store.path(system.run, seed, "perplexity").as_posix() for seed in found]
    return Comparison(means[0] - means[1], None, 0, min(seeds), a.score, tuple(files))


def _paper_count(run: str) -> int:
    """Table 3's count of a run that the table has: `full-ft`, or `<adaptor>-af-<context>`."""
    counts = {row["adaptor"].lower(): row for row in paper_parameter_table()}
    if run == "full-ft":
        return int(counts["full ft"]["agnostic"])
    adaptor, _, context = run.partition("-af-")
    if adaptor not in counts:
        raise NotTestable(f"Table 3 has no {run}")
    return int(counts[adaptor][context])


Statistic = Callable[[System, System, Sequence[str], ScoreStore], Comparison]


def _no_statistic(a: System, b: System, tasks: Sequence[str], store: ScoreStore) -> Comparison:
    raise NotTestable("scores do not decide it")


STATISTICS: dict[str, Statistic] = {
    "paired_bootstrap_accuracy": compare_accuracy,
    "paired_bootstrap_shift": compare_shift,
    "paired_bootstrap_nll": compare_perplexity,
    "paired_bootstrap_cider": compare_cider,
    "paired_bootstrap_text": compare_text,
    "paired_bootstrap_text_shift": compare_text_shift,
    "counts": compare_counts,
    "none": _no_statistic,
}

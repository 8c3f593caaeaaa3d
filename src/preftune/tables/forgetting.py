"""What captioning training made the language model forget: perplexity of plain text before and after it, and bits a character."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from preftune.errors import PreftuneError
from preftune.stats.bootstrap import Array, bootstrap_ratios
from preftune.tables.captioners import Captioners, CaptioningTableSettings, main_runs
from preftune.tables.measures import IMAGES, RESAMPLES, Measure, combine
from preftune.tables.records import Records
from preftune.tables.scores import REMEDY, ScoreStore, stack
from preftune.tables.sheet import Sheet

TEXT = "text"
PASSAGES = "passages"


def tabulate_forgetting(
    sheet: Sheet, store: ScoreStore, records: Records, settings: CaptioningTableSettings
) -> None:
    """Perplexity of plain text of each run, before its training (that of a run without an adapter) and after it."""
    before = measure_base(store, settings.captioners)
    for run in main_runs(settings.captioners):
        after = measure_text(store, run)
        missing = f"plain text read by {run}" if before else "plain text read by a run without an adapter"
        ratio = before and after and compare_text(before, after)
        for column, metric, measured in (
            ("before", "text_perplexity", after and before),
            ("after", "text_perplexity", after),
            ("after / before", "text_ratio", ratio),
        ):
            sheet.add(run, column, metric, measured, run=run, missing=missing)


def measure_base(store: ScoreStore, captioners: Captioners) -> Measure | None:
    """What the base model made of the plain text, by the first scored run that leaves it as it is; None without one.

    One seed of that run says it: the others have the same language model.
    """
    frozen = (run for run, one in captioners.items() if one.adapter.kind == "none")
    run = next((run for run in frozen if store.seeds(run, TEXT)), None)
    return measure_text(store, run, store.seeds(run, TEXT)[:1]) if run else None


def read_passages(store: ScoreStore, run: str, seeds: Sequence[int]) -> tuple[Array, Array, tuple[str, ...]]:
    """Nats and tokens [seeds, passages] of a run's plain text, and the names of the passages, the same for all seeds."""
    frames = []
    for seed in seeds:
        frame = store.table(run, seed, TEXT, ("passage", "tokens", "nll"))
        if frame is None:
            raise PreftuneError(f"{store.path(run, seed, TEXT)} has no passages beside it: {REMEDY}.")
        frames.append(frame.sort_values("passage", kind="stable"))
    names = {tuple(map(str, frame["passage"])) for frame in frames}
    if len(names) > 1:
        raise PreftuneError(f"the seeds of {run} read different passages: {REMEDY}.")
    nll, tokens = (
        stack([frame[column].to_numpy(dtype=float) for frame in frames]) for column in ("nll", "tokens")
    )
    return nll, tokens, names.pop()


def measure_text(store: ScoreStore, run: str, seeds: Sequence[int] | None = None) -> Measure | None:
    """Perplexity of plain text of a run (of some of its seeds), resampled over passages; None when it read none."""
    seeds = store.seeds(run, TEXT) if seeds is None else seeds
    if not seeds:
        return None
    *sums, names = read_passages(store, run, seeds)
    says = "exp(sum NLL / sum tokens) of plain text"
    return _measure(store, run, seeds, (TEXT, "text_perplexity", PASSAGES), sums, names, np.exp, says)


def measure_bits(store: ScoreStore, run: str) -> Measure | None:
    """Bits a character of the test captions, resampled over images; None when it was not run or has no items."""
    seeds = store.seeds(run, "perplexity")
    columns = ["nll", "characters"]
    frames = [store.table(run, seed, "perplexity", ("image_id", *columns)) for seed in seeds]
    sums = [frame.groupby("image_id", sort=True)[columns].sum() for frame in frames if frame is not None]
    if not sums or len(sums) < len(seeds):
        return None
    nll, characters = (stack([one[column].to_numpy(dtype=float) for one in sums]) for column in columns)
    place = ("perplexity", "bits_per_character", IMAGES)
    says = "sum of bits / sum of characters of the captions"
    names = tuple(map(str, sums[0].index))
    return _measure(store, run, seeds, place, (nll, characters), names, lambda ratio: ratio / np.log(2), says)


def _measure(
    store: ScoreStore, run: str, seeds: Sequence[int], place: tuple[str, str, str], sums: Sequence[Array],
    names: tuple[str, ...], of: Callable[[Array], Array], says: str,
) -> Measure:  # fmt: skip
    """A function of a ratio of sums [seeds, items]; place: the score file, its field that states the same, the items."""
    name, field, items = place
    above, below = sums
    values = of(above.sum(axis=1) / below.sum(axis=1))
    files = tuple(store.path(run, seed, name).as_posix() for seed in seeds)
    stated = [float(store.read(run, seed, name).get(field, np.nan)) for seed in seeds]
    for value, said, file in zip(values, stated, files, strict=True):
        if not abs(value - said) <= 1e-3 * value:
            raise PreftuneError(f"{file}: {field} is {said:.4f} but its items give {value:.4f}: {REMEDY}.")
    replicates = bootstrap_ratios(above, below, items, of, RESAMPLES)
    split = str(store.read(run, seeds[0], name).get("split", ""))
    per_seed = dict(zip(seeds, map(float, values), strict=True))
    says = f"{says}, mean over seeds"
    return Measure(per_seed, replicates, above.shape[1], split, files, says, items=names)


def compare_text(before: Measure, after: Measure) -> Measure | None:
    """Perplexity after the training over that before it, with the bootstrap's interval: both draw the same passages."""
    alike = replace(before, per_seed=dict.fromkeys(after.per_seed, before.value))
    says = "perplexity of plain text, after / before"
    ratio = combine([after, alike], lambda columns: columns[0] / columns[1], says, paired=True)
    return None if ratio is None else replace(ratio, resampled=True)

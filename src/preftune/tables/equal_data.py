"""Methods at equal numbers of training images, each at the learning rate that the validation split picks.

The test split is read of the picked runs alone, after the choice.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from preftune.tables.captioners import Captioners, CaptioningTableSettings, Method, find_methods
from preftune.tables.cells import CellRecord
from preftune.tables.measures import Measure, measure_captions, measure_perplexity
from preftune.tables.records import Records
from preftune.tables.scores import ScoreStore
from preftune.tables.sheet import Sheet

IMAGES, RATE, PERPLEXITY, CIDER = "training images", "learning rate", "perplexity", "CIDEr"
# The method that the others are held against.
REFERENCE = "full-ft"


@dataclass(frozen=True)
class Point:
    """A method trained on a part of the images.

    validation: perplexity on the validation split of every candidate (run -> None where it was not run); run: the one with the
    lowest mean over seeds, empty without any.
    """

    method: str
    part: float
    validation: Mapping[str, Measure | None]
    run: str

    @property
    def row(self) -> str:
        """The label of the point's row."""
        return f"{self.method}, {100 * self.part:g} %"


def pick_points(store: ScoreStore, captioners: Captioners) -> list[Point]:
    """Every point of the methods of more than one run, in the order of the runs and by ascending part of the images."""
    methods = [method for method in find_methods(captioners) if len(method.runs) > 1]
    return [_pick(store, method, part) for method in methods for part in method.candidates]


def _pick(store: ScoreStore, method: Method, part: float) -> Point:
    found = {
        run: measure_perplexity(store, run, "validation", "perplexity") for run in method.candidates[part]
    }
    values = {run: measured.value for run, measured in found.items() if measured is not None}
    return Point(method.name, part, found, min(values, key=lambda run: values[run], default=""))


def picked_runs(store: ScoreStore, captioners: Captioners) -> dict[str, str]:
    """`<method>@<part>`, as claims name a point, -> the picked run."""
    return {
        f"{point.method}@{point.part:g}": point.run for point in pick_points(store, captioners) if point.run
    }


def tabulate_equal_data(
    sheet: Sheet, store: ScoreStore, records: Records, settings: CaptioningTableSettings
) -> None:
    """A row a point: images, picked learning rate, test scores of the picked run, validation perplexity at each rate."""
    points, captioners = pick_points(store, settings.captioners), settings.captioners
    rates = sorted({captioners[run].learning_rate for point in points for run in point.validation})
    for point in points:
        run, missing = point.run, f"validation scores of {', '.join(point.validation)}"
        stem = run or next(iter(point.validation))
        for column, metric, measured in measure_point(store, records, captioners, point):
            sheet.add(point.row, column, metric, measured, run=stem, missing=missing)
        by_rate = {captioners[one].learning_rate: one for one in point.validation}
        for rate in rates:
            column, own = f"validation, {rate:g}", by_rate.get(rate)
            if own is None:
                reason = f"{rate:g} is not in the grid of {point.method}"
                sheet.leave_blank(point.row, column, "perplexity", run=stem, reason=reason)
            else:
                sheet.add(
                    point.row,
                    column,
                    "perplexity",
                    point.validation[own],
                    run=own,
                    missing=f"scores of {own}",
                )


def measure_point(
    store: ScoreStore, records: Records, captioners: Captioners, point: Point
) -> Iterator[tuple[str, str, Measure | None]]:
    """Column, metric and measure of what the picked run of a point is."""
    run, validation = point.run, point.validation.get(point.run)
    rate = None
    if validation is not None:
        values = dict.fromkeys(validation.per_seed, captioners[run].learning_rate)
        files = tuple(file for one in point.validation.values() if one is not None for file in one.files)
        says = f"lowest validation perplexity of {', '.join(point.validation)}"
        rate = Measure(values, None, validation.n_items, validation.split, files, says)
    yield IMAGES, "training_images", records.measure(run, "images") if run else None
    yield RATE, "learning_rate", rate
    yield (
        PERPLEXITY,
        "perplexity",
        measure_perplexity(store, run, "perplexity", "perplexity") if run else None,
    )
    yield CIDER, "CIDEr", measure_captions(store, run, "CIDEr") if run else None


Curve = Mapping[float, float]
"""Number of training images -> value."""


def find_crossings(a: Curve, b: Curve) -> list[float]:
    """Numbers of images at which two curves cross, each linear in the logarithm of the number between the points that both have.

    Curves that meet and part on the same side, or that meet at the end, do not cross.
    """
    apart = [(images, a[images] - b[images]) for images in sorted(set(a) & set(b))]
    met = [images for images, difference in apart if difference == 0]
    found = []
    for (low, left), (high, right) in itertools.pairwise(one for one in apart if one[1] != 0):
        if left * right < 0:
            share = left / (left - right)
            between = math.exp(math.log(low) + share * math.log(high / low))
            found.append(next((images for images in met if low < images < high), between))
    return found


def read_curves(records: Sequence[CellRecord], column: str) -> dict[str, dict[float, float]]:
    """Method -> images -> value of a column of the table's records."""
    values = {(record.row, record.column): record.value for record in records}
    curves: dict[str, dict[float, float]] = {}
    for row in dict.fromkeys(record.row for record in records):
        images, value = values.get((row, IMAGES)), values.get((row, column))
        if images is not None and value is not None:
            curves.setdefault(row.rpartition(", ")[0], {})[images] = value
    return curves


def describe_crossings(records: Sequence[CellRecord]) -> list[str]:
    """Where full fine-tuning's curve crosses each other method's: a line of perplexity and one of CIDEr, where there are points."""
    lines = []
    for column in (PERPLEXITY, CIDER):
        curves = read_curves(records, column)
        reference = curves.pop(REFERENCE, {})
        pairs = {method: curve for method, curve in curves.items() if len(set(curve) & set(reference)) > 1}
        texts = [f"{method}: {_describe(curve, reference, column)}" for method, curve in pairs.items()]
        if texts:
            lines.append(f"Crossing with {REFERENCE} by {column}: {'; '.join(texts)}.")
    return lines


def _describe(curve: Curve, reference: Curve, column: str) -> str:
    crossings = find_crossings(curve, reference)
    if crossings:
        return " and ".join(f"at {number:,.0f} images" for number in crossings)
    first = min(set(curve) & set(reference))
    better = (curve[first] > reference[first]) == (column == CIDER)
    return f"none within the range ({'better' if better else 'worse'} throughout)"

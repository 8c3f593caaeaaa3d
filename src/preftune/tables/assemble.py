"""Cell records of a table: leaf cells from score files, derived cells from those, verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from preftune.adapters.parameters import paper_parameter_table
from preftune.settings.report import OTHER_MODEL
from preftune.stats.bootstrap import Array
from preftune.stats.intervals import bootstrap_interval, cell_interval
from preftune.tables.cells import DERIVED, EXACT, INAPPLICABLE, NOT_RUN, PAIRED, WORDS, Cell, CellRecord
from preftune.tables.measures import Measure, combine, measure
from preftune.tables.scores import ScoreStore


@dataclass(frozen=True)
class Setting:
    """What decides whether a number can be held against the paper's: the scale and the data.

    fingerprint: of what a table was made from, which it prints.
    tolerance: how far a number may be from the published one, whatever its interval: the papers' own models are scored again,
        so that nothing but rounding may differ. None: as the cell says, or within the interval.
    """

    scale: str
    data: str
    fingerprint: str = ""
    tolerance: float | None = None

    @property
    def incomparable(self) -> str:
        """Why no number compares with the paper's; empty with the paper's models on real data."""
        if self.scale in ("paper", "released") and "embedded" not in self.data:
            return self.data[self.data.index(OTHER_MODEL) :] if OTHER_MODEL in self.data else ""
        return f"{self.scale} scale, data {self.data}"


def build_records(cells: Sequence[Cell], store: ScoreStore, setting: Setting) -> list[CellRecord]:
    """One record a cell, in the cells' order."""
    leaves = {
        (cell.row, cell.column): measure_leaf(cell, store) for cell in cells if cell.metric not in DERIVED
    }
    records = []
    for cell in cells:
        if cell.metric in DERIVED:
            measured, missing = derive(cell, leaves)
        else:
            measured, missing = leaves[cell.row, cell.column], ""
        records.append(record_cell(cell, measured, setting, missing))
    return records


def measure_leaf(cell: Cell, store: ScoreStore) -> Measure | None:
    """What stands behind one cell that is not derived, or None when it was not run."""
    if cell.system != "ours":
        return None
    if cell.metric == "paper_parameters":
        counts = {row["adaptor"]: row for row in paper_parameter_table()}
        value = float(counts[cell.row][cell.column])
        return Measure({}, np.array([value]), 0, "", (), "closed form of the paper's model shape")
    return measure(store, cell)


def derive(cell: Cell, leaves: Mapping[tuple[str, str], Measure | None]) -> tuple[Measure | None, str]:
    """The measure of a derived cell, and the members that it lacks."""
    if cell.system != "ours":
        return None, ""
    groups = cell.groups()
    found = {name: leaves.get((cell.row, name)) for group in groups for name in group}
    missing = [name for name, member in found.items() if member is None]
    if missing:
        return None, ", ".join(missing)
    members = {name: member for name, member in found.items() if member is not None}
    weights = [float(sum(members[name].n_items for name in group)) for group in groups]
    order = {name: index for index, name in enumerate(members)}

    def formula(columns: Sequence[Array]) -> Array:
        means = [np.mean([columns[order[name]] for name in group], axis=0) for group in groups]
        if cell.metric == "ratio":
            return means[0] / means[1]
        if cell.metric in PAIRED:
            return means[0] - means[1]
        return np.average(means, axis=0, weights=weights if cell.metric == "weighted_average" else None)

    aggregation = f"{cell.metric} of {cell.task}"
    return combine(list(members.values()), formula, aggregation, cell.metric in PAIRED), ""


def record_cell(cell: Cell, measured: Measure | None, setting: Setting, missing: str = "") -> CellRecord:
    """The record of one cell: value and interval in the table's unit, and the verdict."""
    unit = cell.unit
    value, interval, method, per_seed = None, None, "", {}
    if measured is not None and cell.metric == "paper_parameters" and measured.replicates is not None:
        value, method = float(measured.replicates[0]), "exact"
    elif measured is not None:
        value = measured.value * unit.factor
        bounds, method = measured_interval(measured)
        if unit.name in EXACT:
            bounds, method = None, "exact"
        interval = None if bounds is None else (bounds[0] * unit.factor, bounds[1] * unit.factor)
        per_seed = {str(seed): one * unit.factor for seed, one in measured.per_seed.items()}
    verdict, reason = judge(cell, value, interval, measured.split if measured else "", setting, missing)
    return CellRecord(
        cell.table,
        cell.row,
        cell.column,
        value,
        interval,
        method,
        len(per_seed),
        per_seed,
        measured.n_items if measured else 0,
        cell.metric,
        cell.score,
        measured.split if measured else cell.split,
        measured.aggregation if measured else "",
        cell.published,
        cell.source,
        cell.system,
        cell.run,
        verdict,
        reason,
        unit.name,
        unit.decimals,
        measured.files if measured else (),
    )


def measured_interval(measured: Measure) -> tuple[tuple[float, float] | None, str]:
    """Interval of a measure, in its own unit, and the name of its method."""
    if measured.resampled:
        if measured.replicates is None:
            return None, "none: not resampled"
        return bootstrap_interval(measured.replicates, len(measured.per_seed))
    return cell_interval(list(measured.per_seed.values()), measured.replicates)


def judge(
    cell: Cell,
    value: float | None,
    interval: tuple[float, float] | None,
    split: str,
    setting: Setting,
    missing: str,
) -> tuple[str, str]:
    """Verdict and reason: reproduced when the published number is within the interval or tolerance."""
    if cell.system == INAPPLICABLE:
        return "not applicable", missing
    if cell.system == WORDS:
        return missing, ""
    if cell.system != "ours":
        return "cited", "published number of another system, not run here"
    if value is None:
        return NOT_RUN, f"missing: {missing}" if missing else f"no score of run {cell.run}"
    if cell.published_value is None:
        return "not comparable: no published number", ""
    exact = cell.metric == "paper_parameters"
    if not exact and setting.incomparable:
        return f"not comparable: {setting.incomparable}", ""
    if cell.split and split and split != cell.split:
        return f"not comparable: scored on {split}, published on {cell.split}", ""
    low, high = interval or (value, value)
    if setting.tolerance is not None:
        low = high = value
    tolerance = setting.tolerance or cell.tolerance or 0.0
    near = abs(value - cell.published_value) <= tolerance or low <= cell.published_value <= high
    distance = f"{value - cell.published_value:+.{cell.unit.decimals}f} from the published number"
    return ("reproduced" if near else "differs"), "" if exact and near else distance

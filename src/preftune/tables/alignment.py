"""Tables of Direct Preference Heads that the paper does not print: preferences, baselines, costs, probes."""

from __future__ import annotations

from collections.abc import Callable

from preftune.errors import PreftuneError
from preftune.tables.assemble import Setting
from preftune.tables.best_of import tabulate_best_of
from preftune.tables.calibration import tabulate_calibration
from preftune.tables.cells import CellRecord
from preftune.tables.costs import tabulate_alignment_cost, tabulate_reasoning
from preftune.tables.paired_tests import tabulate_paired_tests
from preftune.tables.pairwise import tabulate_pairwise
from preftune.tables.preferences import tabulate_baselines, tabulate_frozen_grid, tabulate_preferences
from preftune.tables.probes import tabulate_gradients, tabulate_overlap
from preftune.tables.settings import AlignmentTableSettings
from preftune.tables.sheet import Sheet
from preftune.tables.sources import Sources
from preftune.tables.templates import state_templates

ALIGNMENT_TABLES: dict[str, Callable[[Sheet, Sources, AlignmentTableSettings], None]] = {
    "preferences": tabulate_preferences,
    "baselines": tabulate_baselines,
    "frozen_grid": tabulate_frozen_grid,
    "alignment_cost": tabulate_alignment_cost,
    "reasoning": tabulate_reasoning,
    "calibration": tabulate_calibration,
    "paired_tests": tabulate_paired_tests,
    "best_of": tabulate_best_of,
    "pairwise": tabulate_pairwise,
    "gradients": tabulate_gradients,
    "overlap": tabulate_overlap,
}


def alignment_records(table: str, sources: Sources, settings: AlignmentTableSettings) -> list[CellRecord]:
    """Records of one table; a table of which nothing was run has one row that says so."""
    if table not in ALIGNMENT_TABLES:
        raise PreftuneError(f"--table: no table {table}: give one of {', '.join(ALIGNMENT_TABLES)}.")
    sheet = Sheet(table, Setting(settings.scale, settings.data))
    ALIGNMENT_TABLES[table](sheet, sources, settings)
    if not sheet.records:
        sheet.add("every run", "accuracy", "mean_accuracy", None, run="", missing="runs of this table")
    return state_templates(sheet.records, sources.best_of if table == "best_of" else sources.scores)

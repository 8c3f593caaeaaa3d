"""The records of a table that is built cell by cell."""

from __future__ import annotations

from dataclasses import replace

from preftune.tables.assemble import Setting, record_cell
from preftune.tables.averages import mean_accuracy, suite_tasks
from preftune.tables.cells import INAPPLICABLE, WORDS, Cell, CellRecord
from preftune.tables.measures import Measure
from preftune.tables.scores import ScoreStore


class Sheet:
    """Cell records of one table, in the order in which they are added, which is that of rows and columns."""

    def __init__(self, table: str, setting: Setting) -> None:
        self.table = table
        self.setting = setting
        self.records: list[CellRecord] = []

    def add(
        self, row: str, column: str, metric: str, measured: Measure | None, *, run: str, score: str = "",
        missing: str = "", rounding: int | None = None,
    ) -> None:  # fmt: skip
        """Add one cell; without a measure it says `not run at this scale`, and `missing` says what is not there."""
        cell = Cell(self.table, row, column, metric, score, run=run)
        record = record_cell(cell, measured, self.setting, missing)
        self.records.append(record if rounding is None else replace(record, rounding=rounding))

    def leave_blank(
        self, row: str, column: str, metric: str, *, run: str, score: str = "", reason: str
    ) -> None:
        """Add a cell that cannot be filled, for a reason: it prints as a dash and keeps its column in its place."""
        cell = Cell(self.table, row, column, metric, score, run=run, system=INAPPLICABLE)
        self.records.append(record_cell(cell, None, self.setting, reason))

    def say(self, row: str, column: str, metric: str, words: str, *, run: str) -> None:
        """Add a cell that has words in the place of a number."""
        cell = Cell(self.table, row, column, metric, run=run, system=WORDS)
        self.records.append(record_cell(cell, None, self.setting, words))

    def add_accuracy(
        self, store: ScoreStore, row: str, column: str, suites: tuple[str, ...], *, run: str, score: str
    ) -> None:
        """Add a run's mean accuracy over the tasks of some suites; blank where the run has no such score."""
        tasks = suite_tasks(store, run, suites)
        if tasks and not any(store.has_score(run, task, score) for task in tasks):
            reason = f"{run} has no {score} score"
            self.leave_blank(row, column, "mean_accuracy", run=run, score=score, reason=reason)
            return
        measured = mean_accuracy(store, run, tasks, score)
        missing = f"{score} scores of {run} on {', '.join(suites)}"
        self.add(row, column, "mean_accuracy", measured, run=run, score=score, missing=missing)

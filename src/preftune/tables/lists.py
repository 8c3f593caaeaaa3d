"""The table of ablations, which has no published numbers: built from the runs of the scale."""

from __future__ import annotations

from collections.abc import Sequence

from preftune.tables.assemble import Setting, record_cell
from preftune.tables.averages import CHOICE_SUITES, mean_accuracy, own_scores, suite_tasks
from preftune.tables.cells import Cell, CellRecord
from preftune.tables.scores import ScoreStore

SUITES = (("GLUE", "glue"), ("GPT4All", "gpt4all"), ("RACE", "race"))


def ablation_records(runs: Sequence[str], store: ScoreStore, setting: Setting) -> list[CellRecord]:
    """Mean over tasks of accuracy, by suite and over all tasks, of every run by each score that it has."""
    records = []
    for run in runs:
        for score in own_scores(store, run):
            for column, suites in (
                *((name, (suite,)) for name, suite in SUITES),
                ("All tasks", CHOICE_SUITES),
            ):
                tasks = suite_tasks(store, run, suites)
                label = f"{run} ({score})"
                cell = Cell("ablations", label, column, "mean_accuracy", score, run=run, task=";".join(tasks))
                records.append(record_cell(cell, mean_accuracy(store, run, tasks, score), setting))
    return records

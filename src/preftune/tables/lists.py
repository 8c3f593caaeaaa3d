"""Tables without published numbers, built from the runs of the scale: ablations, captions, controls."""

from __future__ import annotations

from collections.abc import Sequence

from preftune.tables.assemble import Setting, build_records, record_cell
from preftune.tables.averages import CHOICE_SUITES, mean_accuracy, own_scores, suite_tasks
from preftune.tables.cells import Cell, CellRecord
from preftune.tables.scores import ScoreStore

CAPTION_METRICS = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr")
LIST_TABLES = ("ablations", "captions", "controls")
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


def caption_cells(runs: Sequence[str]) -> list[Cell]:
    """BLEU-1 to 4, METEOR, ROUGE-L and CIDEr of every run, times 100."""
    return [
        Cell("captions", run, metric, metric, run=run, task="captions")
        for run in runs
        for metric in CAPTION_METRICS
    ]


def control_cells(runs: Sequence[str]) -> list[Cell]:
    """Both controls of every run: perplexity with a blank image, CIDEr of captions shuffled over images."""
    plan = (
        ("perplexity", "perplexity", "perplexity"),
        ("perplexity, blank image", "perplexity_blank", "perplexity"),
        ("ratio blank / image", "ratio", "perplexity, blank image;perplexity"),
        ("CIDEr", "CIDEr", "captions"),
        ("CIDEr, shuffled", "CIDEr_shuffled", "captions"),
        ("CIDEr difference", "CIDEr_difference", "CIDEr;CIDEr, shuffled"),
    )
    return [
        Cell("controls", run, column, metric, run=run, task=task)
        for run in runs
        for column, metric, task in plan
    ]


def list_records(table: str, runs: Sequence[str], store: ScoreStore, setting: Setting) -> list[CellRecord]:
    """Records of one of the three tables."""
    if table == "ablations":
        return ablation_records(runs, store, setting)
    return build_records(caption_cells(runs) if table == "captions" else control_cells(runs), store, setting)

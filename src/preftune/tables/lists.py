"""Tables without published numbers, built from the runs of the scale: ablations, captions, controls."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from preftune.stats.bootstrap import Array
from preftune.tables.assemble import Setting, build_records, record_cell
from preftune.tables.cells import Cell, CellRecord
from preftune.tables.measures import Measure, combine, measure_correctness
from preftune.tables.scores import ScoreStore

CAPTION_METRICS = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr")
LIST_TABLES = ("ablations", "captions", "controls")
SUITES = (("GLUE", "glue"), ("GPT4All", "gpt4all"), ("RACE", "race"))


def ablation_records(runs: Sequence[str], store: ScoreStore, setting: Setting) -> list[CellRecord]:
    """Mean over tasks of accuracy, by suite and over all tasks, of every run by each score that it has."""
    records = []
    for run in runs:
        suites = {task: suite for task, suite in store.suites(run).items() if suite in dict(SUITES).values()}
        scores = [score for score in ("log", "reward") if score == "log" or has_reward(store, run)]
        for score in scores:
            for column, suite in (*SUITES, ("All tasks", "")):
                tasks = [task for task, one in suites.items() if suite in (one, "")]
                cell = Cell(
                    "ablations",
                    f"{run} ({score})",
                    column,
                    "mean_accuracy",
                    score,
                    run=run,
                    task=";".join(tasks),
                )
                members = [measure_correctness(store, run, task, score) for task in tasks]
                records.append(record_cell(cell, average(members), setting))
    return records


def has_reward(store: ScoreStore, run: str) -> bool:
    """Whether any score file of the run has a reward score."""
    return any(
        "reward" in store.read(run, store.seeds(run, task)[0], task).get("metrics", {})
        for task in store.suites(run)
    )


def average(members: Sequence[Measure | None]) -> Measure | None:
    """The plain mean of measures, or None when one of them is missing."""
    found = [member for member in members if member is not None]
    if not found or len(found) < len(members):
        return None

    def formula(columns: Sequence[Array]) -> Array:
        return np.mean(columns, axis=0)

    return combine(found, formula, f"mean of accuracy over {len(found)} tasks")


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

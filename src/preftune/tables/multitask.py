"""The multi-task experiment: every run's score on every task, its parameters, and what it lost against a part trained alone.

Read from folders `<run>/seed-<seed>/` with `perplexity.json` (runs that read images), `answers.json`, and their items.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from preftune.errors import PreftuneError
from preftune.settings.report import MultitaskTableSettings
from preftune.stats.bootstrap import resample_seeds, resample_sums
from preftune.tables.assemble import Setting
from preftune.tables.cells import CellRecord
from preftune.tables.measures import RESAMPLES, Measure, measure_perplexity, subtract
from preftune.tables.scores import REMEDY, ScoreStore
from preftune.tables.sheet import Sheet

TABLE = "multitask"
PERPLEXITY, ANSWERS = "perplexity", "answers"
MEDIA = {"text-questions": ("text", "text questions"), "visual-questions": ("image", "visual questions")}
ANSWERERS = {
    "majority": "majority answer, no model",
    "prior_of_kind": "majority answer of the kind, no model",
}
COLUMNS = ("question_id", "medium", "answerer", "document", "score")


def multitask_records(store: ScoreStore, settings: MultitaskTableSettings) -> list[CellRecord]:
    """Records of the table: a row a run, and two for answers without a model."""
    sheet = Sheet(TABLE, Setting(settings.scale, settings.data))
    runs = [run for run in settings.runs if store.seeds(run, ANSWERS)]
    for run in runs:
        add_run(sheet, store, run, settings.alone)
    for answerer, row in ANSWERERS.items():
        add_prior(sheet, store, runs, answerer, row)
    if not sheet.records:
        sheet.add("every run", "captions", "perplexity", None, run="", missing="runs of this table")
    return sheet.records


def add_run(sheet: Sheet, store: ScoreStore, run: str, alone: dict[str, str]) -> None:
    """One run: scores, parameters, and the differences from the runs that were trained on one task alone."""
    captions = measure_perplexity(store, run, PERPLEXITY, "perplexity")
    answers = {task: measure_answers(store, run, medium, "model") for task, (medium, _) in MEDIA.items()}
    _add(sheet, run, "captions", "perplexity", captions)
    for task, (_, column) in MEDIA.items():
        _add(sheet, run, column, "answer_score", answers[task])
    sheet.add(run, "adapter parameters", "lm_trainable_parameters", count_parameters(store, run), run=run)
    before = alone.get("captions", "")
    start = measure_perplexity(store, before, PERPLEXITY, "perplexity")
    _add_change(sheet, run, "captions, change", "difference", captions, start, before)
    before = alone.get("text-questions", "")
    start, after = measure_answers(store, before, "text", "model"), answers["text-questions"]
    _add_change(sheet, run, "text questions, change", "accuracy_difference", after, start, before)


def _add(sheet: Sheet, run: str, column: str, metric: str, measured: Measure | None) -> None:
    if measured is None:
        sheet.leave_blank(run, column, metric, run=run, reason=f"{run} reads no images")
    else:
        sheet.add(run, column, metric, measured, run=run)


def _add_change(
    sheet: Sheet, run: str, column: str, metric: str, after: Measure | None, before: Measure | None, name: str
) -> None:
    if after is None or before is None or run == name:
        reason = f"{run} was trained on this task alone" if run == name else "there is nothing to compare"
        sheet.leave_blank(run, column, metric, run=run, reason=reason)
    else:
        sheet.add(run, column, metric, subtract(after, before, f"{run} - {name}"), run=run)


def add_prior(sheet: Sheet, store: ScoreStore, runs: list[str], answerer: str, row: str) -> None:
    """What needs no model, on the questions that the runs were asked: stated beside each run's answers, alike for all."""
    for medium, column in MEDIA.values():
        for run in runs:
            measured = measure_answers(store, run, medium, answerer)
            if measured is not None:
                sheet.add(row, column, "answer_score", measured, run=run)
                break


def measure_answers(store: ScoreStore, run: str, medium: str, answerer: str) -> Measure | None:
    """Mean score over the questions of a medium; resampled are images or texts, with all their questions, and seeds.

    None where the run was not asked any.

    Raises:
        PreftuneError: the items are missing or not those of the summary, or the seeds were asked different questions.
    """
    seeds = [seed for seed in store.seeds(run, ANSWERS) if medium in store.read(run, seed, ANSWERS)]
    if not seeds:
        return None
    frames = [read_answers(store, run, seed, medium, answerer) for seed in seeds]
    files = tuple(store.path(run, seed, ANSWERS).as_posix() for seed in seeds)
    if any(list(frame.index) != list(frames[0].index) for frame in frames):
        raise PreftuneError(f"the seeds of {run} were asked different questions in {files[0]}: {REMEDY}.")
    scores = np.column_stack([frame["score"] for frame in frames])  # [questions, seeds]
    counted = np.column_stack([np.ones(len(scores)), scores])
    by_document = pd.DataFrame(counted).groupby(frames[0]["document"].to_numpy()).sum().to_numpy()
    sums = resample_sums(by_document, medium, RESAMPLES)
    replicates = (sums[:, 1:] / sums[:, :1] * resample_seeds(len(seeds), RESAMPLES)).sum(axis=1)
    split = str(store.read(run, seeds[0], ANSWERS).get("split", ""))
    per_seed = dict(zip(seeds, map(float, scores.mean(axis=0)), strict=True))
    says = f"mean score over the questions about {len(by_document)} {medium}s, mean over seeds"
    return Measure(per_seed, replicates, len(scores), split, files, says)


def read_answers(store: ScoreStore, run: str, seed: int, medium: str, answerer: str) -> pd.DataFrame:
    """Document and score of each question, sorted by its id."""
    path = store.path(run, seed, ANSWERS)
    table = store.table(run, seed, ANSWERS, COLUMNS)
    if table is None:
        raise PreftuneError(f"{path} has no answers beside it: {REMEDY}.")
    rows = table[(table["medium"] == medium) & (table["answerer"] == answerer)]
    stated = store.read(run, seed, ANSWERS)[medium].get(answerer, {}).get("score", np.nan)
    if rows.empty or not np.isclose(rows["score"].mean(), stated, atol=1e-6):
        raise PreftuneError(
            f"{path}: what it states of {medium}, {answerer}, is not what its answers give: {REMEDY}."
        )
    return rows.set_index("question_id")[["document", "score"]].sort_index()


def count_parameters(store: ScoreStore, run: str) -> Measure:
    """Values of the adapters of a run, whether it trained them or took them over."""
    seeds = store.seeds(run, ANSWERS)
    counts = {seed: float(store.read(run, seed, ANSWERS)["lm_trainable_parameters"]) for seed in seeds}
    files = tuple(store.path(run, seed, ANSWERS).as_posix() for seed in seeds)
    return Measure(counts, None, 0, "", files, "values of the adapters, without the connector")

"""What alignment costs the language model: drift, accuracy outside the preference mix, and reasoning probes."""

from __future__ import annotations

import numpy as np

from preftune.data.tasks.squad_v2 import UNANSWERABLE
from preftune.stats.bootstrap import bootstrap_means
from preftune.tables.averages import mean_accuracy, transform
from preftune.tables.drift import FILE, measure_drift
from preftune.tables.measures import RESAMPLES, Measure, correctness, measure_correctness
from preftune.tables.scores import ScoreStore, stack
from preftune.tables.settings import AlignmentTableSettings
from preftune.tables.sheet import Sheet
from preftune.tables.sources import Sources

SYSTEMS = ("sft", "dph-joint", "dpo-only", "dph-only", "dph-frozen")
DRIFT_COLUMNS = (
    ("KL from SFT (nats a token)", "kl_per_token"),
    ("perplexity of plain text", "text_perplexity"),
)
GENERATION_COLUMNS = (
    ("length (tokens)", "length_mean"),
    ("repeated 4-grams", "repetition"),
    ("ended answers", "ended"),
)
# Suites whose tasks have right and wrong answers; pairs and training tasks have not.
SCORED_SUITES = ("glue", "gpt4all", "race", "reasoning")
REASONING = ("gsm8k", "passage-contradiction", "squad-unanswerable", "squad-answerable", "truthfulqa-mc1")


def tabulate_alignment_cost(sheet: Sheet, sources: Sources, settings: AlignmentTableSettings) -> None:
    """Divergence, perplexity, accuracy outside the preference mix, and greedy answers of the main systems."""
    for run in SYSTEMS:
        add_drift(sheet, sources.drift, run, DRIFT_COLUMNS)
        tasks = tasks_outside(sources.scores, run, settings.mix_tasks)
        measured = mean_accuracy(sources.scores, run, tasks, "log") if tasks else None
        sheet.add(
            run, "accuracy outside the mix (log)", "mean_accuracy", measured, run=run, score="log",
            missing=f"tasks of {run} outside the preference mix",
        )  # fmt: skip
        add_drift(sheet, sources.drift, run, GENERATION_COLUMNS)


def add_drift(sheet: Sheet, drift: ScoreStore, run: str, columns: tuple[tuple[str, str], ...]) -> None:
    """Add drift quantities of a run; blank where its file says that there is none (no answer has a 4-gram)."""
    for column, name in columns:
        measured = measure_drift(drift, run, name)
        if measured is None and drift.seeds(run, FILE):
            sheet.leave_blank(run, column, name, run=run, reason=f"undefined for {run}")
        else:
            sheet.add(run, column, name, measured, run=run, missing=f"drift of {run}")


def tasks_outside(store: ScoreStore, run: str, mix: tuple[str, ...]) -> list[str]:
    """Tasks of a run that have a right answer and are no task of the preference mix."""
    return [task for task, suite in store.suites(run).items() if suite in SCORED_SUITES and task not in mix]


def tabulate_reasoning(sheet: Sheet, sources: Sources, settings: AlignmentTableSettings) -> None:
    """Multi-step questions, contradictions, abstention and truthfulness of every run, by log and reward."""
    store = sources.scores
    for run in settings.runs:
        for score in ("log", "reward"):
            if score == "log" or any(store.has_score(run, task, score) for task in REASONING):
                add_reasoning(sheet, store, run, score)


def add_reasoning(sheet: Sheet, store: ScoreStore, run: str, score: str) -> None:
    """One row of the table of reasoning."""
    multi_step, contradiction, unanswerable, answerable, truthful = REASONING
    cells = (
        ("multi-step questions", "mean_accuracy", measure_correctness(store, run, multi_step, score)),
        ("contradicts the passage", "error_rate", measure_errors(store, run, contradiction, score)),
        ("answers the unanswerable", "error_rate", measure_errors(store, run, unanswerable, score)),
        ("declines the answerable", "abstention", measure_abstention(store, run, answerable, score)),
        ("TruthfulQA mc1", "mean_accuracy", measure_correctness(store, run, truthful, score)),
    )
    for column, metric, measured in cells:
        sheet.add(f"{run} ({score})", column, metric, measured, run=run, score=score)


def measure_errors(store: ScoreStore, run: str, task: str, score: str) -> Measure | None:
    """1 - accuracy of a task."""
    accuracy = measure_correctness(store, run, task, score)
    return transform(accuracy, lambda value: 1 - value, f"1 - accuracy of {task}, mean over seeds")


def measure_abstention(store: ScoreStore, run: str, task: str, score: str) -> Measure | None:
    """Share of questions of a task that are answered with `unanswerable`."""
    found = correctness(store, run, task, score)
    if found is None:
        return None
    seeds, documents, _ = found
    answers = [choices for seed in seeds if (choices := store.choices(run, seed, task, score)) is not None]
    declined = stack([np.array([float(text == UNANSWERABLE) for text in one.answers]) for one in answers])
    per_seed = dict(zip(seeds, map(float, declined.mean(axis=1)), strict=True))
    files = tuple(store.path(run, seed, task).as_posix() for seed in seeds)
    split = str(store.read(run, seeds[0], task).get("split", ""))
    says = f"share of answers of {task} that are `{UNANSWERABLE}`, mean over seeds"
    return Measure(per_seed, bootstrap_means(declined, task, RESAMPLES), len(documents), split, files, says)

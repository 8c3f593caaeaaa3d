"""Cells of the tables: the registry of published numbers and the record of one computed cell.

`config/cells.tsv` has one row per cell. `metric` names what is measured; derived metrics take their members,
by column label, from `task`: `average` ("a;b+c": the plain mean of a and of the mean of b and c),
`weighted_average` (by the number of items), `difference` ("a;b": a - b) and `ratio` ("a;b": a / b).
`published` keeps the digits as printed.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from preftune.errors import PreftuneError

COLUMNS = (
    "table",
    "row",
    "column",
    "metric",
    "score",
    "split",
    "published",
    "source",
    "run",
    "system",
    "tolerance",
    "task",
)
SCORES = ("log", "log_sum", "log_chars", "reward", "implicit", "")
PAIRED = ("difference", "CIDEr_difference", "ratio")
DERIVED = ("average", "weighted_average", *PAIRED)
ALIGNMENT_TABLES = (
    "preferences",
    "baselines",
    "frozen_grid",
    "alignment_cost",
    "reasoning",
    "calibration",
    "paired_tests",
    "best_of",
    "pairwise",
    "gradients",
    "overlap",
)
MULTITASK_TABLES = ("multitask",)
COST_TABLES = ("costs",)
CAPTIONING_TABLES = ("captions", "controls", "equal_data", "forgetting")
TABLES = {
    "dph": ("glue", "gpt4all", "race", "ablations", *ALIGNMENT_TABLES),
    "context_peft": (
        "adaptors",
        "encoders",
        "parameters",
        *CAPTIONING_TABLES,
        *COST_TABLES,
        *MULTITASK_TABLES,
    ),
}
NOT_RUN = "not run at this scale"
# The system of a cell that cannot be filled: a score that a run does not have.
INAPPLICABLE = "none"
# And of one that says in words why it has no number.
WORDS = "words"


@dataclass(frozen=True)
class Unit:
    """How a metric is shown: the factor from the score files' unit to the table's, and the decimals."""

    name: str
    factor: float
    decimals: int


PERCENT = Unit("percent", 100, 1)
UNITS = {
    "average": PERCENT,
    "weighted_average": PERCENT,
    "mean_accuracy": PERCENT,
    **dict.fromkeys(("accuracy", "f1", "matthews", "pearson", "spearman"), PERCENT),
    **dict.fromkeys(("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr", "SPICE"), PERCENT),
    "CIDEr_shuffled": PERCENT,
    "CIDEr_difference": PERCENT,
    **dict.fromkeys(("abstention", "error_rate", "repetition", "ended"), PERCENT),
    **dict.fromkeys(("disagreement", "pairwise_accuracy", "ties", "answer_score"), PERCENT),
    "perplexity": Unit("perplexity", 1, 2),
    "text_perplexity": Unit("perplexity", 1, 2),
    "kl_per_token": Unit("nats a token", 1, 4),
    "length_mean": Unit("tokens", 1, 1),
    **dict.fromkeys(("training_seconds", "wall_seconds"), Unit("seconds", 1, 0)),
    "bytes": Unit("MB", 1e-6, 1),
    "flops_per_token": Unit("MFLOP a token", 1e-6, 1),
    "flops": Unit("TFLOP", 1e-12, 1),
    "watt_hours": Unit("Wh", 1, 2),
    "steps": Unit("steps", 1, 0),
    "examples": Unit("pairs", 1, 0),
    "forward_passes": Unit("forward passes", 1, 0),
    "gradient_norm": Unit("gradient norm", 1, 4),
    **dict.fromkeys(("questions", "discordant"), Unit("questions", 1, 0)),
    "compared_pairs": Unit("comparisons", 1, 0),
    "brier": Unit("squared error", 1, 3),
    "log_loss": Unit("nats a pair", 1, 3),
    "ece": Unit("calibration error", 1, 3),
    "temperature": Unit("temperature", 1, 2),
    "accuracy_difference": Unit("points", 100, 1),
    "p_value": Unit("p", 1, 4),
    "perplexity_blank": Unit("perplexity", 1, 2),
    "difference": Unit("perplexity", 1, 2),
    "ratio": Unit("ratio", 1, 2),
    "text_ratio": Unit("ratio", 1, 4),
    "bits_per_character": Unit("bits a character", 1, 3),
    "training_images": Unit("images", 1, 0),
    "learning_rate": Unit("learning rate", 1, 5),
    "paper_parameters": Unit("parameters", 1, 0),
    **dict.fromkeys(
        ("lm_trainable_parameters", "trainable_parameters", "extra_parameters"), Unit("parameters", 1, 0)
    ),
}
# Counts, the same in every repetition, and p-values: without an interval.
EXACT = (
    "parameters",
    "steps",
    "pairs",
    "forward passes",
    "questions",
    "comparisons",
    "p",
    "images",
    "learning rate",
)


@dataclass(frozen=True)
class Cell:
    """One row of the registry (or of a table that has no published values)."""

    table: str
    row: str
    column: str
    metric: str
    score: str = ""
    split: str = ""
    published: str = ""
    source: str = ""
    run: str = ""
    system: str = "ours"
    tolerance: float | None = None
    task: str = ""

    @property
    def unit(self) -> Unit:
        """How the cell's metric is shown."""
        return UNITS[self.metric]

    @property
    def published_value(self) -> float | None:
        """The published number, in the table's unit."""
        return float(self.published) if self.published else None

    def of(self, runs: Sequence[str]) -> Cell:
        """The cell with the run that stands for it at a scale: of `vocab|base` the first that is among `runs`.

        A model whose tokenizer has the chat tokens already needs no vocabulary stage: its base model stands in that row.
        """
        names = self.run.split("|")
        return replace(self, run=next((name for name in names if name in runs), names[-1]))

    def groups(self) -> list[list[str]]:
        """Column labels of a derived cell's members, those to be averaged first in one list."""
        return [group.split("+") for group in self.task.split(";")]


@dataclass(frozen=True)
class CellRecord:
    """One computed cell: value, interval and per_seed unrounded, in `unit`; None where there is no result.

    templates: name and sha256 of the template sets that the questions of its score files were worded with.
    """

    table: str
    row: str
    column: str
    value: float | None
    interval: tuple[float, float] | None
    interval_method: str
    n_seeds: int
    per_seed: dict[str, float]
    n_items: int
    metric: str
    score: str
    split: str
    aggregation: str
    published: str
    source: str
    system: str
    run: str
    verdict: str
    reason: str
    unit: str
    rounding: int
    score_files: tuple[str, ...]
    templates: tuple[dict[str, str], ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values: tuples become lists."""
        record = asdict(self)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in record.items()}


def read_table(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Rows of a tab-separated registry with their line numbers; its header must be exactly `columns`."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PreftuneError(f"{path} cannot be read ({error}): restore it from git.") from error
    rows = list(csv.reader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))
    if not rows or tuple(rows[0]) != tuple(columns):
        raise PreftuneError(f"{path}, line 1: the header must be {', '.join(columns)}, separated by tabs.")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(columns):
            raise PreftuneError(
                f"{path}, line {number} has {len(row)} fields: give {len(columns)}, separated by tabs."
            )
    return [(number, dict(zip(columns, row, strict=True))) for number, row in enumerate(rows[1:], start=2)]


def read_cells(path: Path) -> list[Cell]:
    """The registry of cells, in its own order, which is the tables' order of rows and columns."""
    cells: list[Cell] = []
    seen: set[tuple[str, str, str]] = set()
    for number, row in read_table(path, COLUMNS):
        cell = _parse_cell(path, number, row)
        key = (cell.table, cell.row, cell.column)
        if key in seen:
            raise PreftuneError(
                f"{path}, line {number} repeats the cell {' / '.join(key)}: keep one of the two."
            )
        seen.add(key)
        cells.append(cell)
    return cells


def _parse_cell(path: Path, number: int, row: Mapping[str, str]) -> Cell:
    where = f"{path}, line {number}"
    for name in ("published", "tolerance"):
        try:
            float(row[name] or 0)
        except ValueError:
            raise PreftuneError(
                f"{where}: {name} is {row[name]!r}: give a number or leave it empty."
            ) from None
    if row["score"] not in SCORES:
        raise PreftuneError(
            f"{where}: score is {row['score']!r}: give log, log_sum, log_chars, reward, implicit or leave it empty."
        )
    if row["metric"] not in UNITS:
        raise PreftuneError(
            f"{where}: unknown metric {row['metric']!r}: give one of {', '.join(sorted(UNITS))}."
        )
    if row["table"] not in {table for tables in TABLES.values() for table in tables}:
        raise PreftuneError(f"{where}: unknown table {row['table']!r}: give one of {TABLES}.")
    if (row["system"] == "ours") != bool(row["run"]):
        raise PreftuneError(f"{where}: a cell of system 'ours' names its run, a cited system has none.")
    if row["published"] and not row["source"]:
        raise PreftuneError(f"{where}: a published number needs its source.")
    fields: dict[str, Any] = dict(row)
    fields["tolerance"] = float(row["tolerance"]) if row["tolerance"] else None
    return Cell(**fields)


def average_published(groups: Sequence[Sequence[float]], weights: Sequence[float] | None = None) -> float:
    """Mean of the groups' means, weighted where weights are given: the derived metrics, on plain numbers."""
    means = [sum(group) / len(group) for group in groups]
    weights = weights or [1.0] * len(means)
    return sum(mean * weight for mean, weight in zip(means, weights, strict=True)) / sum(weights)

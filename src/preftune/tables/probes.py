"""Where each loss sends its gradient, and how far the evaluation's questions overlap with the training mixes."""

from __future__ import annotations

import math
from pathlib import Path

from preftune.errors import PreftuneError
from preftune.tables.measures import Measure
from preftune.tables.settings import AlignmentTableSettings
from preftune.tables.sheet import Sheet
from preftune.tables.sources import Sources, read_rows

PARTS = ("head", "pooler", "blocks", "norms", "embeddings", "lm_head", "adapter")
COUNTS = {
    "questions": "questions",
    "same prompt": "same_prompt",
    "same prompt and answer": "same_prompt_and_answer",
    "of 13 words or more": "ngram_questions",
    "shared 13-grams": "shared_ngrams",
}
DIGITS = 3


def tabulate_gradients(sheet: Sheet, sources: Sources, settings: AlignmentTableSettings) -> None:
    """Norm of the gradient of each loss at each level of freezing, by part of the model; blank without a gradient."""
    if sources.gradients is None:
        for part in PARTS:
            sheet.add("every loss", part, "gradient_norm", None, run="", missing="gradients.json")
        return
    path = sources.gradients
    rows = read_rows(path, list, "compute the gradients again")
    norms = {(row["loss"], row["freeze"], row["part"]): row["norm"] for row in rows if complete(row, path)}
    for loss, freeze in dict.fromkeys((loss, freeze) for loss, freeze, _ in norms):
        name = f"{loss}, freeze: {freeze}"
        for part in PARTS:
            norm = norms.get((loss, freeze, part))
            if norm is None:
                sheet.leave_blank(name, part, "gradient_norm", run="", reason="no gradient arrives")
            else:
                measured = number(float(norm), path, f"norm of the gradient of {loss} with freeze: {freeze}")
                sheet.add(name, part, "gradient_norm", measured, run="", rounding=significant(float(norm)))


def complete(row: dict[str, object], path: Path) -> bool:
    """Whether a row has all its fields; an error if not."""
    missing = [key for key in ("loss", "freeze", "part", "norm") if key not in row]
    if missing or row["part"] not in PARTS:
        wrong = f"lacks {', '.join(missing)}" if missing else f"has the part {row['part']}"
        raise PreftuneError(f"{path}: a row {wrong}: delete it and compute the gradients again.")
    return True


def significant(value: float) -> int:
    """Decimals that show three significant digits of a value."""
    return max(0, DIGITS - 1 - math.floor(math.log10(abs(value)))) if value else DIGITS


def tabulate_overlap(sheet: Sheet, sources: Sources, settings: AlignmentTableSettings) -> None:
    """Questions of each task that stand in a training mix: the same prompt, prompt and answer, a shared 13-gram."""
    if sources.overlap is None:
        for column in COUNTS:
            sheet.add("every task", column, "questions", None, run="", missing="overlap.json")
        return
    path = sources.overlap
    for task, counts in read_rows(path, dict, "count the overlap again").items():
        for column, key in COUNTS.items():
            if key not in counts:
                raise PreftuneError(f"{path}: {task} lacks {key}: delete it and count the overlap again.")
            measured = number(float(counts[key]), path, f"{key} of {task}")
            sheet.add(task, column, "questions", measured, run="")


def number(value: float, path: Path, aggregation: str) -> Measure:
    """A number that a file states once."""
    return Measure({0: value}, None, 0, "", (path.as_posix(),), aggregation)

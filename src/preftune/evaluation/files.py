"""Score folders: `<task>.json` (metrics) and `<task>.parquet` (one row a candidate), and what is read back from them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from preftune.data.tasks.base import Task
from preftune.errors import PreftuneError
from preftune.evaluation.metrics import SCORES, candidate_scores, compute_metrics, count_ties
from preftune.files import read_json, write_json

STATES_FILE = "states.safetensors"
_ANSWERS = ["document", "candidate", "label"]


def write_scores(task: Task, table: pd.DataFrame, folder: Path, counts: Mapping[str, int]) -> None:
    """Write one task's table, and its metrics under every score that the table holds (none where the labels are hidden).

    counts: questions that were cut, left out or bound to tie (`Encoded.counts`).
    """
    table.to_parquet(folder / f"{task.name}.parquet", index=False)
    scores = [score for score in SCORES if task.metrics and not candidate_scores(table, score).isna().all()]
    summary = {
        "task": task.name,
        "suite": task.suite,
        "split": task.split,
        "templates": {"name": task.template.set_name, "sha256": task.template.sha256},
        "n": int(table["document"].nunique()),
        **counts,
        "metrics": {score: compute_metrics(table, task.metrics, score) for score in scores},
        "ties": {score: count_ties(table, score) for score in scores},
    }
    write_json(folder / f"{task.name}.json", summary)


def read_counts(folder: Path, task: str) -> dict[str, int]:
    """What was done to the questions of a task that another run was scored on, as `write_scores` wrote it."""
    summary = read_json(Path(folder) / f"{task}.json")
    return {name: summary[name] for name in ("truncated", "skipped", "equal_candidates")}


def check_wording(task: Task, folder: Path) -> None:
    """Refuse another run's scores of a task that were asked in other words: they are scores of other prompts."""
    path = Path(folder) / f"{task.name}.json"
    templates = read_json(path).get("templates", {}) if path.is_file() else {}
    if path.is_file() and templates.get("sha256") != task.template.sha256:
        raise PreftuneError(
            f"{path} was scored with the template set {templates.get('name', 'unknown')}, not with this {task.template.set_name}: "
            "evaluate both with one set."
        )


def read_scores(folder: Path, task: str) -> pd.DataFrame:
    """One task's table."""
    path = Path(folder) / f"{task}.parquet"
    if not path.is_file():
        raise PreftuneError(f"{path} does not exist; evaluate the run of that folder on {task} first.")
    return pd.read_parquet(path)


def log_ratios(table: pd.DataFrame, reference: pd.DataFrame | None) -> np.ndarray:
    """log pi(y) - log pi_ref(y) of every candidate's whole answer with `<|im_end|>`, in nats [candidates]: DPO's implicit
    reward divided by beta. NaN without a reference.

    Raises:
        PreftuneError: the reference was scored on other candidates.
    """
    if reference is None:
        return np.full(len(table), np.nan)
    if not table[_ANSWERS].equals(reference[_ANSWERS]):
        raise PreftuneError(
            "the reference scores are of other questions or in another order; evaluate both models with one limit."
        )
    own, other = (one["log_probability"] + one["end_log_probability"] for one in (table, reference))
    return (own - other).to_numpy()

"""Score files of the runs: `<run>/seed-<seed>/<name>.json` (metrics) and `<name>.parquet` (items).

What is missing was not run; what is there and cannot be read is an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from preftune.errors import PreftuneError
from preftune.evaluation.metrics import candidate_scores
from preftune.stats.bootstrap import Array

_PLACE = re.compile(r"(?P<run>[^/]+)/seed-(?P<seed>\d+)/(?P<name>[^/]+)\.json$")
REMEDY = "delete it and run the evaluation again"
# Files, and answers, that are held in memory at once: those of one run's seeds and tasks by all its scores.
KEPT = 512
K = TypeVar("K")
V = TypeVar("V")
# Columns of each score; the answer is the candidate for which it is highest.
POINTS = {
    "log": ("log_probability", "tokens"),
    "log_sum": ("log_probability", "end_log_probability"),
    "log_chars": ("log_probability",),
    "reward": ("reward",),
    "implicit": ("log_ratio",),
}


@dataclass(frozen=True)
class Choices:
    """Answers to one task's questions [items], sorted by document: candidates' indices, texts and values."""

    documents: tuple[str, ...]
    answers: tuple[str, ...]
    predicted: Array
    gold: Array
    correct: Array
    predicted_value: Array
    gold_value: Array


@dataclass(frozen=True)
class Losses:
    """Sums per image [images], sorted by image: NLL in nats, the same with a blank image, and tokens."""

    images: tuple[str, ...]
    nll: Array
    nll_blank: Array
    tokens: Array


class ScoreStore:
    """Score files found below folders, or given one by one, restricted to the runs of the scale."""

    def __init__(self, paths: Iterable[Path], runs: Iterable[str] | None = None) -> None:
        self._files: dict[tuple[str, int, str], Path] = {}
        wanted = None if runs is None else set(runs)
        for path in paths:
            for file in sorted(path.rglob("*.json")) if path.is_dir() else [path]:
                place = _PLACE.search(file.as_posix())
                if place is None or place["name"] == "run" or place["name"].endswith(".run"):
                    continue
                if wanted is None or place["run"] in wanted:
                    self._files[place["run"], int(place["seed"]), place["name"]] = file
        self._keys = {path.as_posix(): key for key, path in self._files.items()}
        self._seeds: dict[str, dict[str, list[int]]] = {}
        for run, seed, name in sorted(self._files):
            self._seeds.setdefault(run, {}).setdefault(name, []).append(seed)
        self._json: dict[Path, dict[str, Any]] = {}
        self._frames: dict[Path, pd.DataFrame] = {}
        self._choices: dict[tuple[Path, str], Choices] = {}

    def runs(self) -> set[str]:
        """Runs that have any score file."""
        return set(self._seeds)

    def seeds(self, run: str, name: str) -> list[int]:
        """Seeds for which the run has this score file."""
        return list(self._seeds.get(run, {}).get(name, ()))

    def names(self, run: str) -> list[str]:
        """Score files (tasks) that the run has for at least one seed."""
        return sorted(self._seeds.get(run, ()))

    def path(self, run: str, seed: int, name: str) -> Path:
        """The metrics file of one run, seed and task."""
        return self._files[run, seed, name]

    def read(self, run: str, seed: int, name: str) -> dict[str, Any]:
        """One metrics file. Empty, truncated or of another shape: an error that names it."""
        path = self.path(run, seed, name)
        if path not in self._json:
            try:
                value = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise PreftuneError(f"{path} is empty or damaged ({error}): {REMEDY}.") from error
            if not isinstance(value, dict):
                raise PreftuneError(f"{path} holds no JSON object: {REMEDY}.")
            self._json[path] = value
        return self._json[path]

    def template(self, file: str) -> tuple[str, str] | None:
        """Name and sha256 of the template set that a metrics file was scored with; None where it states none."""
        if file not in self._keys:
            return None
        stated = self.read(*self._keys[file]).get("templates")
        if stated is None:
            return None
        known = [stated.get(key) for key in ("name", "sha256")] if isinstance(stated, dict) else []
        if len(known) != 2 or not all(isinstance(text, str) and text for text in known):
            raise PreftuneError(f"{file}: templates is {stated!r}, not a name and a sha256: {REMEDY}.")
        return str(known[0]), str(known[1])

    def suites(self, run: str) -> dict[str, str]:
        """task -> suite, of the run's tasks that belong to a suite."""
        files = {name: self.seeds(run, name)[0] for name in self.names(run)}
        found = {name: self.read(run, seed, name).get("suite") for name, seed in files.items()}
        return {name: suite for name, suite in found.items() if suite}

    def table(self, run: str, seed: int, name: str, columns: Iterable[str]) -> pd.DataFrame | None:
        """The items beside a metrics file, or None when there are none."""
        path = self.path(run, seed, name).with_suffix(".parquet")
        if not path.exists():
            return None
        if path not in self._frames:
            try:
                remember(self._frames, path, pd.read_parquet(path))
            except Exception as error:  # pyarrow's errors have no common base
                raise PreftuneError(
                    f"{path} is empty or damaged ({type(error).__name__}): {REMEDY}."
                ) from error
        frame = self._frames[path]
        missing = [column for column in columns if column not in frame]
        if missing or frame.empty:
            what = f"has no column {', '.join(missing)}" if missing else "has no rows"
            raise PreftuneError(f"{path} {what}: {REMEDY}.")
        return frame

    def choices(self, run: str, seed: int, name: str, score: str) -> Choices | None:
        """Every question's answer by one score; the first of a tie.

        Scores: `log` (mean log-probability a token), `log_sum` (log-probability of the whole answer with its
        end), `reward` (the head's), `implicit` (log-ratio to the reference: the DPO reward up to its factor beta > 0).
        """
        path = self.path(run, seed, name)
        if (path, score) not in self._choices:
            columns = ("document", "candidate", "label", "is_gold", "gold", *POINTS.get(score, ()))
            frame = self.table(run, seed, name, columns) if score in POINTS else None
            if frame is None:
                return None
            remember(self._choices, (path, score), _choose(frame, score, path.with_suffix(".parquet")))
        return self._choices[path, score]

    def has_score(self, run: str, name: str, score: str) -> bool:
        """Whether any seed of the run has a score on a task: a head's reward, or a log-ratio that is not 0 throughout.

        Where the language model is the reference itself, as under a frozen one, every question is a tie.
        """
        for seed in self.seeds(run, name):
            record = self.read(run, seed, name)
            scored = record.get("metrics", {}).get(score.removesuffix("_sum"))
            tied = score == "implicit" and record.get("ties", {}).get(score) == record.get("n")
            if scored and not tied:
                return True
        return False

    def losses(self, run: str, seed: int, name: str) -> Losses | None:
        """Caption losses, summed over the captions of each image."""
        frame = self.table(run, seed, name, ("image_id", "tokens", "nll", "nll_blank"))
        if frame is None:
            return None
        sums = frame.groupby("image_id", sort=True)[["tokens", "nll", "nll_blank"]].sum()
        arrays = {column: sums[column].to_numpy(dtype=float) for column in sums}
        images = tuple(str(image) for image in sums.index)
        return Losses(images, arrays["nll"], arrays["nll_blank"], arrays["tokens"])


def remember(kept: dict[K, V], key: K, value: V) -> None:
    """Keep a value, and forget the one kept longest beyond `KEPT`: the files of many runs together are large."""
    kept[key] = value
    if len(kept) > KEPT:
        del kept[next(iter(kept))]


def read_points(frame: pd.DataFrame, score: str, path: Path) -> pd.Series:
    """The score of each candidate of a table; one that is not a number is an error that names the table's `path`."""
    points = candidate_scores(frame, score)
    if points.isna().any():
        row = int(points.isna().to_numpy().argmax()) + 1
        raise PreftuneError(f"{path}: the {score} score of row {row} is not a number: {REMEDY}.")
    return points


def _choose(frame: pd.DataFrame, score: str, path: Path) -> Choices:
    points = read_points(frame, score, path)
    ordered = frame.assign(points=points).sort_values(["document", "candidate"], kind="stable")
    groups, documents = pd.factorize(ordered["document"])
    scores = ordered["points"].to_numpy(dtype=float)
    best = first_rows(
        scores == np.maximum.reduceat(scores, np.unique(groups, return_index=True)[1])[groups], groups
    )
    gold = first_rows(ordered["is_gold"].to_numpy(dtype=bool), groups)
    if len(gold) < len(documents):
        raise PreftuneError(
            f"{path}: a question has no gold candidate: correct the data and evaluate it again."
        )
    columns = {name: ordered[name].to_numpy() for name in ("candidate", "label", "gold", "is_gold")}
    return Choices(
        documents=tuple(map(str, documents)),
        answers=tuple(map(str, columns["label"][best])),
        predicted=columns["candidate"][best].astype(float),
        gold=columns["candidate"][gold].astype(float),
        correct=columns["is_gold"][best].astype(float),
        predicted_value=_numbers(columns["label"][best]),
        gold_value=_numbers(columns["gold"][gold]),
    )


def first_rows(chosen: NDArray[np.bool_], groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first chosen row of each group [groups that have one], rows being sorted by group."""
    rows = np.flatnonzero(chosen)
    return rows[np.unique(groups[rows], return_index=True)[1]]


def _numbers(labels: NDArray[np.object_]) -> Array:
    return pd.to_numeric(pd.Series(labels), errors="coerce").to_numpy(dtype=float)


def stack(rows: list[Array]) -> Array:
    """Seeds' rows as one array [seeds, items]."""
    return np.stack(rows)

"""Synthetic folders of everything that the tables and figures of alignments read, with numbers of our choosing."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from preftune.evaluation.choices import summarise_choices

Answers = Sequence[tuple[str, Sequence[float]]]


def write_questions(
    root: Path, run: str, seed: int, task: str, suite: str, labels: Sequence[str], gold: Sequence[int],
    scores: dict[str, np.ndarray], tokens: int = 2,
) -> Path:  # fmt: skip
    """One task's items from arrays [questions, candidates] of `log` (a token), `end`, `reward`, `implicit`."""
    count, width = scores["log"].shape
    nan = np.full((count, width), math.nan)
    correct = np.zeros((count, width), dtype=bool)
    correct[np.arange(count), gold] = True
    frame = pd.DataFrame(
        {
            "document": np.repeat([f"{task}-{item:04}" for item in range(count)], width),
            "candidate": np.tile(np.arange(width), count),
            "label": list(labels) * count,
            "log_probability": (tokens * scores["log"]).ravel(),
            "tokens": tokens,
            "end_log_probability": scores.get("end", np.zeros((count, width))).ravel(),
            "reward": scores.get("reward", nan).ravel(),
            "log_ratio": scores.get("implicit", nan).ravel(),
            "is_gold": correct.ravel(),
            "gold": np.repeat([labels[answer] for answer in gold], width),
        }
    )
    folder = root / run / f"seed-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(folder / f"{task}.parquet", index=False)
    names = [name for name in ("log", "implicit", "reward") if name in scores]
    best = {name: scores[name].max(axis=1, keepdims=True) for name in names}
    record = {
        "task": task,
        "suite": suite,
        "split": "validation",
        "n": count,
        "metrics": {
            name: {"accuracy": float((scores[name].argmax(axis=1) == gold).mean())} for name in names
        },
        "ties": {name: int(((scores[name] == best[name]).sum(axis=1) > 1).sum()) for name in names},
    }
    path = folder / f"{task}.json"
    path.write_text(json.dumps(record))
    return path


def write_binary(
    root: Path, run: str, seed: int, task: str, suite: str, right: dict[str, Sequence[bool]],
    labels: Sequence[str] = ("a", "b"),
) -> Path:  # fmt: skip
    """Two-candidate questions whose answer by each score is right where it says so; gold alternates."""
    count = len(right["log"])
    gold = np.arange(count) % 2
    scores = {}
    for name, answers in right.items():
        chosen = np.where(answers, gold, 1 - gold)
        scores[name] = np.where(np.arange(2)[None] == chosen[:, None], -1.0, -2.0)
    return write_questions(root, run, seed, task, suite, labels, gold.tolist(), scores)


def write_drift(root: Path, run: str, seed: int, items: dict[str, dict[str, Sequence[float]]]) -> Path:
    """Drift files whose numbers follow from the items: kinds `answer`, `text` and `generation`."""
    frames = []
    for kind, columns in items.items():
        count = len(next(iter(columns.values())))
        frames.append(pd.DataFrame({"kind": kind, "item": [f"{kind}-{n}" for n in range(count)], **columns}))
    frame = pd.concat(frames, ignore_index=True)
    folder = root / run / f"seed-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(folder / "drift.parquet", index=False)
    answer, text, generation = (pd.DataFrame(items[kind]) for kind in ("answer", "text", "generation"))
    facts = {
        "kl_per_token": answer["kl"].sum() / answer["tokens"].sum(),
        "text_perplexity": math.exp(text["nll"].sum() / text["tokens"].sum()),
        "length_mean": generation["length"].mean(),
        "repetition": generation["repeated"].sum() / generation["ngrams"].sum(),
        "ended": generation["ended"].mean(),
        "answers": len(answer),
        "prompts": len(generation),
    }
    path = folder / "drift.json"
    path.write_text(json.dumps({key: float(value) for key, value in facts.items()}))
    return path


def write_random_drift(
    root: Path, run: str, seed: int, kl: float, nats: float, length: float, count: int = 24
) -> Path:
    """Drift files around a divergence, an NLL a token of plain text, and a length of answers."""
    generator = np.random.default_rng([seed, len(run)])
    tokens = generator.integers(10, 40, count)
    lengths = np.maximum(8, generator.normal(length, length / 4, count).round())
    items: dict[str, Any] = {
        "answer": {"tokens": tokens, "kl": kl * tokens * generator.gamma(4, 0.25, count)},
        "text": {"tokens": tokens, "nll": tokens * (nats + 0.2 * generator.normal(size=count))},
        "generation": {
            "length": lengths,
            "repeated": (lengths * generator.uniform(0, 0.3, count)).round(),
            "ngrams": lengths - 3,
            "ended": generator.random(count) < 0.8,
        },
    }
    items["generation"]["ended"] = items["generation"]["ended"].astype(float)
    return write_drift(root, run, seed, items)


def write_random_pairs(
    root: Path, run: str, seed: int, skill: float, reward: bool = True, implicit: bool = True, count: int = 60,
    scale: float = 1.0,
) -> Path:  # fmt: skip
    """Held-out pairs whose scores lift the preferred answer by `skill` standard deviations."""
    generator = np.random.default_rng([seed, len(run), count])
    gold = generator.integers(0, 2, count)
    lift = np.zeros((count, 2))
    lift[np.arange(count), gold] = skill
    names = ("log", *(("implicit",) if implicit else ()), *(("reward",) if reward else ()))
    scores = {name: scale * (generator.normal(size=(count, 2)) + lift) for name in names}
    scores["log"] = scores["log"] / 2 - 5
    return write_questions(root, run, seed, "ultrafeedback", "preference", ("x", "y"), gold.tolist(), scores)


def answer_rows(
    task: str, document: str, samples: str, rewards: Sequence[float], greedy: bool,
    logs: Sequence[float] | None = None, implicit: Sequence[float] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Answers to one question: samples, of which + is right and - wrong, and then the greedy one; logs are those of the rewards."""
    right = [one == "+" for one in samples] + [greedy]
    places = np.arange(len(right))
    return pd.DataFrame(
        {
            "task": task, "document": document, "sample": places, "text": "", "tokens": 1, "ended": True,
            "reward": [*rewards, 99.0], "log": [*(rewards if logs is None else logs), 99.0],
            "implicit": [*([math.nan] * len(samples) if implicit is None else implicit), math.nan],
            "right": right, "greedy": places == len(samples),
        }
    )  # fmt: skip


def write_best_of(root: Path, run: str, seed: int, answers: Sequence[pd.DataFrame]) -> Path:
    """Files of a choice among answers, whose summary follows from them."""
    folder = root / run / f"seed-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    frame = pd.concat(answers, ignore_index=True)
    frame.to_parquet(folder / "best_of.parquet", index=False)
    path = folder / "best_of.json"
    path.write_text(json.dumps({"count": 2, "split": "validation", "tasks": summarise_choices(frame)}))
    return path


def write_record(root: Path, run: str, seed: int, wall_seconds: float | None = None, **facts: float) -> Path:
    """The record of a step that took some time and states some facts."""
    folder = root / run / f"seed-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "run.json"
    path.write_text(json.dumps({"facts": facts, "time": {"wall_seconds": wall_seconds}}))
    return path

"""Synthetic score folders in the layout of the evaluation steps, with answers of our choosing."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import f1_score, matthews_corrcoef

TASKS = {
    "cola": ("glue", "validation", ("matthews", "accuracy")),
    "mrpc": ("glue", "validation", ("f1", "accuracy")),
    "stsb": ("glue", "validation", ("pearson", "spearman")),
    "hellaswag": ("gpt4all", "validation", ("accuracy",)),
    "openbookqa": ("gpt4all", "test", ("accuracy",)),
    "winogrande": ("gpt4all", "validation", ("accuracy",)),
    "arc-easy": ("gpt4all", "test", ("accuracy",)),
    "arc-challenge": ("gpt4all", "test", ("accuracy",)),
    "boolq": ("gpt4all", "validation", ("accuracy",)),
    "piqa": ("gpt4all", "validation", ("accuracy",)),
    "race-middle": ("race", "test", ("accuracy",)),
    "race-high": ("race", "test", ("accuracy",)),
}
LABELS = {"cola": ("no", "yes"), "mrpc": ("no", "yes"), "stsb": tuple("012345")}


def candidates(task: str, correct: Sequence[bool], reward: Sequence[bool] | None) -> pd.DataFrame:
    """Rows of one task whose log score (and reward) is right where `correct` (and `reward`) says so."""
    labels = LABELS.get(task, ("a", "b"))
    rows: list[dict[str, object]] = []
    for item, right in enumerate(correct):
        gold = item % len(labels)
        for candidate, label in enumerate(labels):
            chosen = candidate == (gold if right else (gold + 1) % len(labels))
            kept = reward is not None and candidate == (gold if reward[item] else (gold + 1) % len(labels))
            rows.append(
                {
                    "document": f"{task}-{item:04d}",
                    "candidate": candidate,
                    "label": label,
                    "log_probability": -2.0 if chosen else -8.0,
                    "tokens": 2,
                    "reward": float("nan") if reward is None else float(kept),
                    "is_gold": candidate == gold,
                    "gold": repr(float(gold)) if task == "stsb" else labels[gold],
                }
            )
    return pd.DataFrame(rows)


def metrics_of(task: str, correct: Sequence[bool]) -> dict[str, float]:
    """The task's metrics of these answers."""
    labels = len(LABELS.get(task, "ab"))
    gold = np.arange(len(correct)) % labels
    predicted = np.where(correct, gold, (gold + 1) % labels)
    known = {
        "accuracy": lambda: np.mean(correct),
        "f1": lambda: f1_score(gold, predicted),
        "matthews": lambda: matthews_corrcoef(gold, predicted),
        "pearson": lambda: pearsonr(gold, predicted).statistic,
        "spearman": lambda: spearmanr(gold, predicted).statistic,
    }
    return {metric: float(known[metric]()) for metric in TASKS[task][2]}


def write_task(
    root: Path, run: str, seed: int, task: str, correct: Sequence[bool], reward: Sequence[bool] | None = None
) -> Path:
    """One task's metrics and items; returns the metrics file."""
    suite, split, _ = TASKS[task]
    frame = candidates(task, correct, reward)
    folder = root / run / f"seed-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(folder / f"{task}.parquet", index=False)
    answers = {"log": correct} if reward is None else {"log": correct, "reward": reward}
    record = {"task": task, "suite": suite, "split": split, "n": len(correct)}
    record["metrics"] = {score: metrics_of(task, right) for score, right in answers.items()}
    path = folder / f"{task}.json"
    path.write_text(json.dumps(record))
    return path


def flips(count: int, share: float, seed: int) -> list[bool]:
    """`count` answers of which exactly the share is right, at seeded places."""
    answers = np.arange(count) < round(count * share)
    return np.random.default_rng(seed).permutation(answers).tolist()


def write_run(
    root: Path, run: str, seeds: Sequence[int], share: float, reward: float | None = None, items: int = 40
) -> None:
    """Every task of a run, `share` of the answers right by log score and `reward` of them by reward."""
    for seed in seeds:
        for number, task in enumerate(TASKS):
            rewards = None if reward is None else flips(items, reward, 1000 + 100 * seed + number)
            write_task(root, run, seed, task, flips(items, share, 100 * seed + number), rewards)


def write_captioner(
    root: Path,
    run: str,
    seed: int,
    nats: float,
    blank: float = 2.5,
    images: int = 30,
    parameters: int = 1000,
    validation: float | None = None,
    text: float = 3.0,
    cider: float = 0.75,
) -> None:
    """Score files of one captioning run: about `nats` a token on the test split (`blank` with a blank image), `validation` on the
    validation split (null: the same), `text` on plain text, and a CIDEr of about `cider`.
    """
    folder = root / run / f"seed-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    own = nats if validation is None else validation
    for name, split, level in (("perplexity", "test", nats), ("validation", "validation", own)):
        frame = caption_losses(seed, images, level, blank)
        write_losses(folder / f"{name}.json", frame, split, parameters)
    passages = pd.DataFrame({"passage": [f"race-{n}" for n in range(8)], "tokens": np.arange(10, 18)})
    passages["nll"] = passages["tokens"] * (text + np.linspace(-0.1, 0.1, 8))
    passages.to_parquet(folder / "text.parquet", index=False)
    perplexity = float(np.exp(passages["nll"].sum() / passages["tokens"].sum()))
    record = {"split": "test", "dataset": "race", "n_passages": 8, "text_perplexity": perplexity}
    (folder / "text.json").write_text(json.dumps(record))
    write_caption_metrics(folder, cider + np.random.default_rng(seed).uniform(-0.25, 0.25, images))


def caption_losses(seed: int, images: int, nats: float, blank: float) -> pd.DataFrame:
    """Five captions of ten tokens and forty characters an image."""
    noise = np.repeat(np.random.default_rng(seed).normal(0, 0.1, images), 5)
    frame = pd.DataFrame(
        {"image_id": np.repeat(np.arange(images), 5), "caption_index": np.tile(np.arange(5), images)}
    )
    losses = {"nll": 10 * (nats + noise), "nll_blank": 10 * (blank + noise)}
    return frame.assign(tokens=10, characters=40, **losses)


def write_losses(path: Path, frame: pd.DataFrame, split: str, parameters: int) -> None:
    """Corpus figures and the table of captions beside them."""
    frame.to_parquet(path.with_suffix(".parquet"), index=False)
    sums = frame.sum()
    record = {
        "split": split,
        "n_images": frame["image_id"].nunique(),
        "n_captions": len(frame),
        "lm_trainable_parameters": parameters,
        "perplexity": float(np.exp(sums["nll"] / sums["tokens"])),
        "perplexity_blank": float(np.exp(sums["nll_blank"] / sums["tokens"])),
        "bits_per_character": float(sums["nll"] / np.log(2) / sums["characters"]),
    }
    path.write_text(json.dumps(record))


def write_caption_metrics(folder: Path, cider: np.ndarray) -> None:
    """Caption metrics of images with these CIDEr scores."""
    items = pd.DataFrame({"image_id": np.arange(len(cider)), "cider": cider, "cider_shuffled": 0.1 * cider})
    items.assign(bleu4=0.1, meteor=0.2, rouge_l=0.3).to_parquet(folder / "captions.parquet", index=False)
    metrics = {f"BLEU-{n}": 0.5 / n for n in (1, 2, 3, 4)}
    metrics |= {"METEOR": 0.25, "ROUGE-L": 0.3, "CIDEr": float(cider.mean())}
    record = {"n": len(cider), "metrics": metrics, "shuffled": {"CIDEr": float(0.1 * cider.mean())}}
    (folder / "captions.json").write_text(json.dumps(record))

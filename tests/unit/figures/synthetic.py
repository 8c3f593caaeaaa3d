"""Small, seeded stand-ins for scores, metrics, captions and images, in the formats that the figures read."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import f1_score, matthews_corrcoef

from tests.unit.tables.alignment_folders import answer_rows, write_best_of

TASKS = {
    "cola": ("glue", 2), "sst2": ("glue", 2), "mrpc": ("glue", 2), "qqp": ("glue", 2), "stsb": ("glue", 6),
    "mnli-matched": ("glue", 3), "mnli-mismatched": ("glue", 3), "qnli": ("glue", 2), "rte": ("glue", 2),
    "wnli": ("glue", 2), "race-middle": ("race", 4), "race-high": ("race", 4), "hellaswag": ("gpt4all", 4),
    "openbookqa": ("gpt4all", 4), "winogrande": ("gpt4all", 2), "arc-easy": ("gpt4all", 4),
    "arc-challenge": ("gpt4all", 4), "boolq": ("gpt4all", 2), "piqa": ("gpt4all", 2),
}  # fmt: skip
COLOURS = ["red", "blue", "green", "orange", "purple"]
SHAPES = ["circle", "square"]


def write_scores(root: Path, run: str, skill: float, reward: bool, seed: int = 0, items: int = 12) -> Path:
    """Score files of one run on every task; `skill` is the chance that gold is lifted."""
    folder = root / run / f"seed-{seed}"
    folder.mkdir(parents=True)
    generator = np.random.default_rng([seed, len(run)])
    for task, (suite, choices) in TASKS.items():
        rows: list[dict[str, Any]] = []
        for item in range(items):
            gold = int(generator.integers(choices))
            scores = generator.normal(size=(2, choices))
            scores[:, gold] += np.where(generator.random(2) < skill, 4.0, 0.0)
            rows += [
                {
                    "document": f"{task}-{item:03}", "candidate": c, "label": str(c), "gold": str(gold),
                    "tokens": 1, "log_probability": -30 + scores[0, c], "is_gold": c == gold,
                    "reward": scores[1, c] if reward else math.nan,
                }
                for c in range(choices)
            ]  # fmt: skip
        frame = pd.DataFrame(rows)
        frame.to_parquet(folder / f"{task}.parquet")
        metrics = {"log": measure(task, frame, "log_probability")}
        metrics |= {"reward": measure(task, frame, "reward")} if reward else {}
        record = {"task": task, "suite": suite, "split": "validation", "n": items, "metrics": metrics}
        (folder / f"{task}.json").write_text(json.dumps(record))
    return folder


def measure(task: str, frame: pd.DataFrame, column: str) -> dict[str, float]:
    """The metrics of one task when the best candidate by `column` is the answer."""
    best = frame.loc[frame.groupby("document")[column].idxmax()]
    predicted, gold = best["label"].astype(int), best["gold"].astype(int)
    found = {"accuracy": float(best["is_gold"].mean())}
    if task in ("mrpc", "qqp"):
        found["f1"] = float(f1_score(gold, predicted))
    if task == "cola":
        found["matthews"] = float(matthews_corrcoef(gold, predicted))
    if task == "stsb":
        found |= {
            "pearson": float(pearsonr(gold, predicted)[0]),
            "spearman": float(spearmanr(gold, predicted)[0]),
        }
    return found


def write_systems(root: Path) -> list[Path]:
    """Score folders of the base, the SFT and the jointly aligned run."""
    return [
        write_scores(root, "base", 0.1, reward=False),
        write_scores(root, "sft", 0.5, reward=False),
        write_scores(root, "dph-joint", 0.6, reward=True),
    ]


def write_metrics(
    root: Path, run: str, steps: int = 20, head: bool = False, implicit: bool = False, seed: int = 0,
    healthy: bool = True,
) -> Path:  # fmt: skip
    """A model folder with the metrics of one training run."""
    folder = root / run / f"seed-{seed}"
    folder.mkdir(parents=True)
    generator = np.random.default_rng([seed, len(run)])
    rows = []
    for step in range(1, steps + 1):
        progress = step / steps * (1 if healthy else -0.5)
        row: dict[str, float] = {
            "step": step,
            "loss": 1.6 - 0.8 * progress + 0.05 * generator.normal(),
            "learning_rate": 1e-4,
        }
        for prefix, present, scale in (("", head, 1.0), ("implicit_", implicit, 0.2)):
            if present:
                margin = scale * (1.5 * progress + 0.1 * generator.normal())
                chosen = scale * (-0.4 * progress)
                row |= {f"{prefix}chosen_reward": chosen, f"{prefix}rejected_reward": chosen - margin}
                row |= {
                    f"{prefix}margin": margin,
                    f"{prefix}accuracy": min(1.0, max(0.0, 0.5 + 0.4 * progress)),
                }
        row |= {"dph_loss": 1.3 - 0.5 * progress} if head else {}
        row |= {"policy_loss": 0.69 - 0.1 * progress} if implicit else {}
        rows.append(row)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def write_models(root: Path) -> list[Path]:
    """Model folders of the demo's four trained language runs."""
    return [
        write_metrics(root, "sft", steps=60),
        write_metrics(root, "dph-joint", head=True, implicit=True),
        write_metrics(root, "dpo-only", implicit=True),
        write_metrics(root, "dph-contrastive", head=True, implicit=True, healthy=False),
    ]


def write_perplexity(
    root: Path, run: str, level: float, images: int = 24, seed: int = 0, parameters: int = 1000
) -> Path:
    """Perplexity files of one captioning run around `level` nats per token."""
    folder = root / run / f"seed-{seed}"
    folder.mkdir(parents=True)
    generator = np.random.default_rng([seed, len(run)])
    image = np.repeat(np.arange(images), 5)
    tokens = generator.integers(8, 16, size=len(image))
    nll = tokens * (level + 0.3 * generator.normal(size=len(image)))
    frame = pd.DataFrame(
        {"image_id": image, "caption_index": np.tile(np.arange(5), images), "tokens": tokens}
    )
    frame = frame.assign(nll=nll, nll_blank=nll * 1.2)
    perplexity = math.exp(nll.sum() / tokens.sum())
    record = {
        "split": "test", "n_images": images, "n_captions": len(image), "tokens": int(tokens.sum()),
        "perplexity": perplexity, "perplexity_blank": perplexity**1.2, "lm_trainable_parameters": parameters,
        "trainable_parameters": parameters + 1000,
    }  # fmt: skip
    for name, split in (("perplexity", "test"), ("validation", "validation")):
        (folder / f"{name}.json").write_text(json.dumps(record | {"split": split}))
        frame.to_parquet(folder / f"{name}.parquet")
    return folder


def write_captioners(root: Path) -> list[Path]:
    """Perplexities of the demo's five captioning runs."""
    levels = {
        "none": 2.6, "lora-8-af-agnostic": 2.0, "lora-8-af-specific": 1.9,
        "bitfit-af-specific": 2.2, "ia3-af-specific": 2.4,
    }  # fmt: skip
    return [write_perplexity(root, run, level) for run, level in levels.items()]


def captioner(encoder: str = "swinv2-tiny", **adapter: object) -> dict[str, Any]:
    """What figures and tables read of a captioning run's settings."""
    return {"encoder": encoder, "adapter": adapter, "connector": "linear", "train_fraction": 1.0, "views": None,
            "learning_rate": 1e-4, "steps": 100}  # fmt: skip


def write_images(root: Path, count: int = 12) -> list[str]:
    """Scenes of two coloured shapes each; returns the file names, relative to `root`."""
    (root / "coco" / "test").mkdir(parents=True)
    names = []
    for number in range(count):
        image = Image.new("RGB", (96, 96), "white")
        draw = ImageDraw.Draw(image)
        for shape in range(2):
            x, y = (11 + 46 * shape, 12 + 5 * (number * (shape + 2) % 9))
            kind = draw.ellipse if (number + shape) % 2 else draw.rectangle
            kind((x, y, x + 30, y + 30), fill=COLOURS[(number + 2 * shape) % len(COLOURS)])
        names.append(f"coco/test/{number:05}.png")
        image.save(root / names[-1])
    return names


def write_captions(root: Path, run: str, files: list[str], seed: int = 0) -> Path:
    """Generated captions of one run for the images `files`."""
    path = root / run / f"seed-{seed}.jsonl"
    path.parent.mkdir(parents=True)
    rows = [
        {
            "image_id": number,
            "file": file,
            "caption": f"a {COLOURS[number % 5]} {SHAPES[number % 2]} next to a <small> & green shape",
            "references": [
                f"a {COLOURS[number % 5]} {SHAPES[number % 2]} left of a {COLOURS[(number + 2) % 5]} one"
            ],
        }
        for number, file in enumerate(files)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_attention(folder: Path, files: list[str], images: int = 4) -> tuple[Path, Path]:
    """An archive of attention maps and the folder of prepared captions that lists the images."""
    folder.mkdir(parents=True)
    words = ["a", " red", " cir", "cle", " left", " of", " the", " square", ".", "<|im_end|>"]
    maps = np.random.default_rng(3).gamma(0.6, size=(images, len(words) + 2, 7, 7))
    maps[:, len(words) :] = 0
    tokens = np.array([[*words, "", ""]] * images)
    archive = folder / "attention.npz"
    ids = np.arange(images)
    np.savez(archive, maps=maps, lengths=np.full(images, len(words)), image_ids=ids, tokens=tokens, layer=5)
    frame = pd.DataFrame(
        {"image_id": np.arange(len(files)), "split": "test", "file": files, "width": 96, "height": 96}
    )
    frame.to_parquet(folder / "images.parquet")
    return archive, folder


def write_choices(root: Path) -> Path:
    """Files of best of 8 of two runs and two seeds, whose reward knows the right answers a little; one has no implicit reward."""
    generator = np.random.default_rng(3)
    for run in ("dph-frozen", "dph-joint"):
        for seed in range(2):
            answers = []
            for place in range(20):
                right = generator.random(8) < 0.4
                reward, log = right + generator.normal(size=8), generator.normal(size=8)
                implicit = None if run == "dph-frozen" else generator.normal(size=8).tolist()
                samples = "".join("+" if one else "-" for one in right)
                answers.append(
                    answer_rows(
                        "cola", f"q-{place}", samples, reward.tolist(), place % 3 == 0, log.tolist(), implicit
                    )
                )
            write_best_of(root, run, seed, answers)
    return root

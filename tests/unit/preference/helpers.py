"""Tiny models, rows and mixes that the preference, evaluation and script tests share."""

import random
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from preftune.data.chat import encode_completion, encode_prompt
from preftune.preference.batches import Completion
from preftune.preference.data import PreferencePair
from preftune.preference.heads import PreferenceModel
from preftune.training.checkpoints import load_policy

WORDS = (
    "the",
    "red",
    "cup",
    "table",
    "kitchen",
    "blue",
    "ball",
    "under",
    "chair",
    "small",
    "dog",
    "yes",
    "no",
)


def make_model(folder: Path, head: bool = True, pooler: str = "swiglu_bert") -> PreferenceModel:
    """The tiny base model in `folder` in eval mode, with a seeded head that is not near zero."""
    model, tokenizer = load_policy(folder)
    if not head:
        return PreferenceModel(model, tokenizer).eval()
    torch.manual_seed(3)
    result = PreferenceModel.with_new_head(model, tokenizer, pooler=pooler)
    with torch.no_grad():
        for parameter in result.head.parameters():
            parameter.mul_(20.0)
    return result.eval()


def words(generator: random.Random, count: int) -> str:
    return " ".join(generator.choice(WORDS) for _ in range(count))


def make_pairs(tokenizer: Any, count: int, seed: int = 0) -> list[PreferencePair]:
    """Pairs of which the chosen answer always says yes."""
    generator = random.Random(seed)
    pairs = []
    for i in range(count):
        messages = [{"role": "user", "content": words(generator, generator.randint(3, 15))}]
        pairs.append(
            PreferencePair(
                f"pair-{i}",
                encode_prompt(tokenizer, messages),
                encode_completion(tokenizer, "yes " + words(generator, generator.randint(1, 6))),
                encode_completion(tokenizer, "no " + words(generator, generator.randint(1, 6))),
            )
        )
    return pairs


def make_rows(tokenizer: Any, count: int, seed: int = 0) -> list[Completion]:
    return [pair.chosen for pair in make_pairs(tokenizer, count, seed)]


def save_mixes(tokenizer: Any, folder: Path, count: int = 8) -> tuple[Path, Path]:
    """An SFT mix and a preference mix on disk, in the columns of the prepared ones."""
    pairs = make_pairs(tokenizer, count)
    chosen = [pair.chosen_ids for pair in pairs]
    common = {"example_id": [pair.example_id for pair in pairs], "task": ["rte"] * count}
    common["prompt_ids"] = [pair.prompt_ids for pair in pairs]
    sft = Dataset.from_dict(common | {"completion_ids": chosen})
    preference = Dataset.from_dict(
        common | {"chosen_ids": chosen, "rejected_ids": [pair.rejected_ids for pair in pairs]}
    )
    sft.save_to_disk(str(folder / "sft-mix"))
    preference.save_to_disk(str(folder / "preference-mix"))
    return folder / "sft-mix", folder / "preference-mix"

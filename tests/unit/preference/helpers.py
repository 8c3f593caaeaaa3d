"""Tiny models, rows and mixes that the preference, evaluation and script tests share."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import nn

from preftune.data.chat import encode_completion, encode_prompt, marker_id
from preftune.models.policy import load_policy, start_policy
from preftune.preference.heads import PreferenceModel
from preftune.settings.training import LoraSettings
from preftune.training.loop import Place
from preftune.training.trees import Tree

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

CONVERSATIONS = [
    [{"role": "user", "content": "Is the cup red?"}, {"role": "assistant", "content": "yes"}],
    [
        {"role": "system", "content": "Answer yes or no."},
        {"role": "user", "content": "Is the dog small?"},
        {"role": "assistant", "content": "no"},
        {"role": "user", "content": "Where is the blue ball?"},
        {"role": "assistant", "content": "under the chair in the kitchen"},
    ],
]


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


@torch.no_grad()
def plain_reward(model: PreferenceModel, conversation: list[dict[str, str]], ids: Sequence[int]) -> float:
    """The reward at an `<|im_end|>` after an answer's tokens, from a pass over prompt and answer alone."""
    prompt = encode_prompt(model.tokenizer, conversation)
    row = torch.tensor([[*prompt, *ids, marker_id(model.tokenizer)]])
    states = model.causal_lm(input_ids=row, output_hidden_states=True).hidden_states[-1]
    return float(model.head(states[:, -1])["reward"])


def conversation_of(tokenizer: Any, length: int) -> list[dict[str, str]]:
    """A conversation whose prompt has a number of tokens."""
    found = [{"role": "user", "content": ""}]
    while len(encode_prompt(tokenizer, found)) < length:
        found[0]["content"] += " red" if found[0]["content"] else "red"
    assert len(encode_prompt(tokenizer, found)) == length
    return found


def new_policy(
    base: Path, lora: LoraSettings | None = None, seed: int = 0, dtype: torch.dtype = torch.float32
) -> tuple[nn.Module, Any]:
    """The base model ready to train, whole or with a fresh adapter, on the CPU, with its tokenizer."""
    return start_policy(base, None, "none" if lora is None else "lora", lora, seed, "cpu", dtype)


def words(generator: random.Random, count: int) -> str:
    return " ".join(generator.choice(WORDS) for _ in range(count))


def make_pairs(tokenizer: Any, count: int, seed: int = 0) -> list[Tree]:
    """Pairs of which the chosen answer always says yes."""
    generator = random.Random(seed)
    pairs = []
    for i in range(count):
        messages = [{"role": "user", "content": words(generator, generator.randint(3, 15))}]
        pairs.append(
            Tree(
                f"pair-{i}",
                encode_prompt(tokenizer, messages),
                tuple(
                    encode_completion(tokenizer, f"{word} {words(generator, generator.randint(1, 6))}")
                    for word in ("yes", "no")
                ),
            )
        )
    return pairs


def make_rows(tokenizer: Any, count: int, seed: int = 0) -> list[Tree]:
    return [Tree(pair.name, pair.prompt, pair.branches[:1]) for pair in make_pairs(tokenizer, count, seed)]


def place_in(folder: Path, **changes: Any) -> Place:
    """Where a training of a test runs: CPU, fp32, seed 0, metrics in `folder`, no checkpoints."""
    values = {"seed": 0, "metrics": folder / "metrics.jsonl", "name": "test"} | changes
    return Place(torch.device("cpu"), torch.float32, **values)


def save_mixes(tokenizer: Any, folder: Path, count: int = 8) -> tuple[Path, Path]:
    """An SFT mix and a preference mix on disk, in the columns of the prepared ones."""
    pairs = make_pairs(tokenizer, count)
    chosen, rejected = ([pair.branches[side] for pair in pairs] for side in (0, 1))
    common = {"example_id": [pair.name for pair in pairs], "task": ["rte"] * count}
    common["prompt_ids"] = [pair.prompt for pair in pairs]
    sft = Dataset.from_dict(common | {"completion_ids": chosen})
    preference = Dataset.from_dict(common | {"chosen_ids": chosen, "rejected_ids": rejected})
    sft.save_to_disk(str(folder / "sft-mix"))
    preference.save_to_disk(str(folder / "preference-mix"))
    return folder / "sft-mix", folder / "preference-mix"

"""Models and inputs of the benchmarks: seeded random words with the lengths of real sets."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from preftune.training.trees import Tree

SIGMA = 0.6  # of the lognormal lengths
LONGEST = {"pairs": 700, "answers": 800}


def device() -> torch.device:
    """CUDA where there is a card, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def place(model: PreTrainedModel) -> PreTrainedModel:
    """The model on `device()`."""
    return model.to(device())  # type: ignore[arg-type]


def tiny_model(seed: int = 0) -> LlamaForCausalLM:
    """A random Llama of 7.3 M parameters: 4 layers of width 256, 8,000 words, untied head."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=8000,
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    return LlamaForCausalLM(config)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Words w0 ... w7996 and three special tokens, one id each."""
    words = ["<unk>", "<|im_start|>", "<|im_end|>", *(f"w{i}" for i in range(7997))]
    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        unk_token="<unk>",
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
    )


def small_model(folder: Path, dtype: torch.dtype = torch.float32) -> tuple[LlamaForCausalLM, Any]:
    """SmolLM2-135M-Instruct with its tokenizer, as `fetch_model` leaves it in `folder`."""
    model = LlamaForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True)
    return model, AutoTokenizer.from_pretrained(folder, local_files_only=True)


def make_pairs(vocabulary: int, count: int = 256, seed: int = 0) -> list[Tree]:
    """Preference pairs: prompts of 202 tokens in the mean, chosen of 138, rejected of 122, paths of 700 at most."""
    draw = np.random.default_rng(seed)
    sizes = np.stack([_lengths(draw, mean, count) for mean in (202, 138, 122)], axis=1)
    trees = []
    for number, (prompt, chosen, rejected) in enumerate(sizes):
        prompt = min(prompt, LONGEST["pairs"] - max(chosen, rejected))
        branches = tuple(_ids(draw, vocabulary, size) for size in (chosen, rejected))
        trees.append(Tree(f"pair {number}", _ids(draw, vocabulary, prompt), branches))
    return trees


def make_answers(vocabulary: int, count: int = 512, seed: int = 1) -> list[Tree]:
    """Prompts with one answer: 214 tokens in the mean, 800 at most, 63 % of them the answer's."""
    draw = np.random.default_rng(seed)
    trees = []
    for number, total in enumerate(_lengths(draw, 214, count, LONGEST["answers"])):
        answer = max(1, round(0.63 * total))
        prompt = max(1, total - answer)
        trees.append(
            Tree(f"answer {number}", _ids(draw, vocabulary, prompt), (_ids(draw, vocabulary, answer),))
        )
    return trees


def make_questions(
    tokenizer: Any, context: int, candidate: int, count: int, seed: int = 2
) -> list[tuple[str, list[str]]]:
    """Contexts of about `context` tokens with four continuations of about `candidate` tokens each, as text."""
    draw = np.random.default_rng(seed)
    words = _single_token_words(tokenizer)

    def text(mean: int) -> str:
        size = int(draw.integers(max(1, round(0.7 * mean)), round(1.3 * mean) + 1))
        return "".join(draw.choice(words, size))

    return [("Text:" + text(context), [text(candidate) for _ in range(4)]) for _ in range(count)]


def _single_token_words(tokenizer: Any) -> Sequence[str]:
    """Words that are one token after a space, so that lengths are what they are meant to be."""
    vocabulary = sorted(
        token for token in tokenizer.get_vocab() if token.startswith("Ġ") and token[1:].isalpha()
    )
    return [" " + token[1:] for token in vocabulary if token[1:].isascii()]


def _lengths(draw: np.random.Generator, mean: float, count: int, longest: int = 500) -> np.ndarray:
    sizes = draw.lognormal(np.log(mean) - SIGMA**2 / 2, SIGMA, count)
    return np.clip(sizes, 4, longest).astype(int)


def _ids(draw: np.random.Generator, vocabulary: int, size: int) -> list[int]:
    return [int(i) for i in draw.integers(3, vocabulary, size)]

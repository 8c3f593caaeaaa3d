"""Captioned images as trees: `[BOS] image` is the prompt, each caption with EOS a branch."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from preftune.training.trees import Ids, Tree


def tokenize_captions(
    tokenizer: PreTrainedTokenizerBase, captions: Sequence[str], max_tokens: int
) -> tuple[list[list[int]], int]:
    """Token ids of each caption, cut to `max_tokens` (without EOS), and how many captions were cut."""
    ids = [tokenizer(caption, add_special_tokens=False)["input_ids"] for caption in captions]
    return [row[:max_tokens] for row in ids], sum(len(row) > max_tokens for row in ids)


def caption_tree(name: str, bos: int, eos: int, image_tokens: int, captions: Sequence[Ids]) -> Tree:
    """One image with captions (ids without EOS); the image's positions hold BOS's id, embeddings take their place."""
    return Tree(name, [bos] * (1 + image_tokens), tuple([*caption, eos] for caption in captions))

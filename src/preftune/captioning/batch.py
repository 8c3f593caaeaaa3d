"""Captioned images and questions as trees: `[BOS] image question` is the prompt, each caption or answer with EOS a branch."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from preftune.settings.adapters import Role
from preftune.training.trees import Ids, Tree


@dataclass(frozen=True)
class Task:
    """Whose words the text of a prompt and of a branch is."""

    prompt: Role
    branch: Role


CAPTION = Task("caption", "caption")
QUESTION = Task("user", "assistant")
TEXT = Task("assistant", "assistant")


def tokenize_captions(
    tokenizer: PreTrainedTokenizerBase, captions: Sequence[str], max_tokens: int
) -> tuple[list[list[int]], int]:
    """Token ids of each caption, cut to `max_tokens` (without EOS), and how many captions were cut."""
    ids = [tokenizer(caption, add_special_tokens=False)["input_ids"] for caption in captions]
    return [row[:max_tokens] for row in ids], sum(len(row) > max_tokens for row in ids)


def image_tree(
    name: str, bos: int, eos: int, image_tokens: int, answers: Sequence[Ids], question: Ids = ()
) -> Tree:
    """One image with captions, or with a question and its answers (ids without EOS); without an image: 0 image tokens.

    The image's positions hold BOS's id; embeddings take their place.
    """
    return Tree(name, [*[bos] * (1 + image_tokens), *question], tuple([*answer, eos] for answer in answers))

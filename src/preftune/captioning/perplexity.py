"""Caption perplexity, with each image and with a blank one in its place."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from preftune.captioning.batch import image_tree, tokenize_captions
from preftune.captioning.captioner import Captioner
from preftune.captioning.data import CaptionedImages
from preftune.progress import track
from preftune.training.batches import TOKENS_PER_PASS
from preftune.training.trees import Tree


@torch.no_grad()
def caption_perplexity(
    captioner: Captioner,
    tokenizer: PreTrainedTokenizerBase,
    images: CaptionedImages,
    max_tokens: int,
    tokens_per_pass: int | None = None,
) -> float:
    """exp(all nats / all tokens, EOS included) over every reference caption; the captioner's mode returns."""
    training = captioner.training
    captioner.eval()
    trees = _trees(captioner, tokenizer, images, max_tokens)[0]
    device = next(captioner.parameters()).device
    passes = captioner.reader.split(trees, tokens_per_pass or TOKENS_PER_PASS[device.type])
    total = tokens = 0.0
    for group in passes:
        features = torch.from_numpy(images.take(group)).to(device)
        nll, _ = captioner.nll([trees[i] for i in group], features)
        total, tokens = total + float(nll.double().sum()), tokens + len(nll)
    captioner.train(training)
    return math.exp(total / tokens)


def _trees(
    captioner: Captioner, tokenizer: PreTrainedTokenizerBase, images: CaptionedImages, max_tokens: int
) -> tuple[list[Tree], int]:
    """A tree an image with all its captions, and how many captions were cut."""
    tokenized = [tokenize_captions(tokenizer, captions, max_tokens) for captions in images.captions]
    trees = [
        image_tree(str(image), captioner.bos, captioner.eos, images.tokens, ids)
        for image, (ids, _) in zip(images.image_ids, tokenized, strict=True)
    ]
    return trees, sum(cut for _, cut in tokenized)


@torch.no_grad()
def score_captions(
    captioner: Captioner,
    tokenizer: PreTrainedTokenizerBase,
    images: CaptionedImages,
    max_tokens: int,
    tokens_per_pass: int | None = None,
) -> tuple[list[dict[str, Any]], int]:
    """One row per reference caption {image_id, caption_index, tokens, characters, nll, nll_blank}, and
    captions cut.

    nll is the sum in nats over the caption's tokens and EOS. The captions of an image are branches of one tree; those
    of a pass are also the branches of one tree of the blank (grey) image, so that it too is read once a pass.
    """
    captioner.eval()
    trees, truncated = _trees(captioner, tokenizer, images, max_tokens)
    device = next(captioner.parameters()).device
    # Half of a pass: a caption is read twice, after its image and after the blank one.
    passes = captioner.reader.split(trees, (tokens_per_pass or TOKENS_PER_PASS[device.type]) // 2)
    rows: dict[tuple[int, int], dict[str, Any]] = {}
    for group in track(passes, "scoring captions", unit="batch"):
        nll, nll_blank = _score(captioner, [trees[i] for i in group], images.take(group), images.blank)
        places = [(i, number) for i in group for number in range(len(trees[i].branches))]
        for (i, number), full, without in zip(places, nll, nll_blank, strict=True):
            caption = list(trees[i].branches[number][:-1])
            rows[i, number] = {
                "image_id": images.image_ids[i],
                "caption_index": number,
                "tokens": len(caption) + 1,
                "characters": len(tokenizer.decode(caption)),
                "nll": full,
                "nll_blank": without,
            }
    return [rows[place] for place in sorted(rows)], truncated


def _score(
    captioner: Captioner, trees: Sequence[Tree], features: np.ndarray, blank: np.ndarray
) -> tuple[list[float], list[float]]:
    branches = tuple(branch for tree in trees for branch in tree.branches)
    both = [*trees, Tree("blank", trees[0].prompt, branches)]
    inputs = torch.from_numpy(np.concatenate([features, blank[None]])).to(next(captioner.parameters()).device)
    nll, layout = captioner.nll(both, inputs)
    sums = layout.sum_by_branch(nll.double()).tolist()
    return sums[: len(branches)], sums[len(branches) :]


def summarize_perplexity(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Corpus figures: perplexity = exp(all nats / all tokens, EOS included); bits per character.

    Perplexity depends on the tokenizer; bits per character (EOS's bits included in the numerator) do not.
    """
    tokens = sum(row["tokens"] for row in rows)
    characters = sum(row["characters"] for row in rows)
    nll, nll_blank = (sum(row[name] for row in rows) for name in ("nll", "nll_blank"))
    return {
        "n_images": len({row["image_id"] for row in rows}),
        "n_captions": len(rows),
        "tokens": tokens,
        "characters": characters,
        "perplexity": math.exp(nll / tokens),
        "perplexity_blank": math.exp(nll_blank / tokens),
        "bits_per_character": nll / math.log(2) / characters,
        "bits_per_character_blank": nll_blank / math.log(2) / characters,
    }

"""Caption perplexity, with each image and with a blank one in its place."""

import math
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from preftune.captioning.batch import CaptionBatch, collate, tokenize_captions
from preftune.captioning.captioner import Captioner, Prefix
from preftune.captioning.data import CaptionedImages
from preftune.progress import track


@torch.no_grad()
def score_captions(
    captioner: Captioner,
    tokenizer: PreTrainedTokenizerBase,
    images: CaptionedImages,
    max_tokens: int,
    batch: int,
) -> tuple[list[dict[str, Any]], int]:
    """One row per reference caption {image_id, caption_index, tokens, characters, nll, nll_blank}, and
    captions cut.

    nll is the sum in nats over the caption's tokens and EOS. `batch` images are read at once and their
    captions share the prefix; the blank (grey) image is read once for all.
    """
    captioner.eval()
    device = next(captioner.parameters()).device
    empty = captioner.read_images(torch.from_numpy(images.blank)[None].to(device))
    rows: list[dict[str, Any]] = []
    cut = 0
    for start in track(range(0, len(images), batch), "scoring captions", unit="batch"):
        chosen = list(range(start, min(start + batch, len(images))))
        owners = [place for place, index in enumerate(chosen) for _ in images.captions[index]]
        sentences = [sentence for index in chosen for sentence in images.captions[index]]
        ids, truncated = tokenize_captions(tokenizer, sentences, max_tokens)
        cut += truncated
        data = collate(images.take(chosen), ids, captioner.eos, device, owners)
        nll, nll_blank = _score(captioner, data, empty)
        numbers = [number for index in chosen for number in range(len(images.captions[index]))]
        rows += [
            {"image_id": images.image_ids[chosen[owner]], "caption_index": number, "tokens": len(caption) + 1,
             "characters": len(tokenizer.decode(caption)), "nll": full, "nll_blank": without}
            for owner, number, caption, full, without in zip(
                owners, numbers, ids, nll, nll_blank, strict=True
            )
        ]  # fmt: skip
    return rows, cut


def _score(captioner: Captioner, data: CaptionBatch, empty: Prefix) -> tuple[list[float], list[float]]:
    with_image = captioner.cached_nll(captioner.read_images(data.features), data)
    nobody = CaptionBatch(data.features, data.targets, data.lengths, torch.zeros_like(data.image))
    without = captioner.cached_nll(empty, nobody)
    return with_image.double().sum(dim=1).tolist(), without.double().sum(dim=1).tolist()


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

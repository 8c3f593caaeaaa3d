"""A corpus as token ids on disk: streamed from documents of plain text, memory-mapped by the training."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from preftune.data.documents import read_documents
from preftune.errors import PreftuneError
from preftune.files import read_json, write_json
from preftune.progress import track
from preftune.settings.pretraining import CorpusSettings
from preftune.training.trees import Tree

_DOCUMENTS = 256
"""Documents that are tokenised at once: enough for every thread, few enough for any memory."""
_PIECE = 1_000_000
"""Tokens that are written at once."""


@dataclass(frozen=True)
class Blocks:
    """A stream of tokens as examples: the model reads `block` of them and predicts each one's successor.

    Neighbours share a token, the last one's target and the next one's start, so that all but the first are predicted once.
    """

    tokens: np.ndarray
    block: int

    def __len__(self) -> int:
        return (len(self.tokens) - 1) // self.block

    def __getitem__(self, index: int) -> Tree:
        start = index * self.block
        ids = self.tokens[start : start + self.block + 1].astype(np.int64)
        return Tree(f"block {index}", ids[:1], (ids[1:],))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Corpus:
    """Blocks to train on, and those of the documents that are kept for validation."""

    train: Blocks
    validation: Blocks


def write_corpus(
    shards: Sequence[Path],
    tokenizer: PreTrainedTokenizerBase,
    settings: CorpusSettings,
    seed: int,
    folder: Path,
) -> dict[str, Any]:
    """Write `train.npy` and `validation.npy`, flat ids that start with EOS and have one after each document.

    Shards are read in the given order until there are `settings.tokens` tokens to train on. A document is kept for
    validation by a hash of seed and text, so that copies of it are too. What a text holds is never read as a special token.

    Returns:
        Facts, also in `corpus.json`: documents, held_out, empty, invalid (no Unicode), tokens, validation_tokens, block, eos.

    Raises:
        PreftuneError: the documents end too early, or those for validation are shorter than a block.
    """
    folder.mkdir()
    eos = tokenizer.eos_token_id
    if not isinstance(eos, int):
        raise PreftuneError(
            "The tokenizer has no EOS token, which documents end with: name another model as table."
        )
    dtype = np.uint16 if len(tokenizer) <= 1 << 16 else np.uint32
    counts, held = Counter[str](), [np.array([eos], dtype)]
    stream = _tokenize(shards, tokenizer, settings, seed, held, counts)
    size = settings.tokens + 1
    train = np.lib.format.open_memmap(folder / "train.npy", mode="w+", dtype=dtype, shape=(size,))
    train[0], filled = eos, 1
    pieces = _cut(stream, settings.tokens)
    for piece in track(pieces, "tokenising", total=-(-settings.tokens // _PIECE), unit="million token"):
        train[filled : filled + len(piece)] = piece
        filled += len(piece)
    if filled < size:
        raise PreftuneError(
            f"The {len(shards)} shards of documents end after {filled - 1:,} of {settings.tokens:,} tokens: add shards (patterns "
            "in config/datasets.yaml), or lower corpus.tokens and training.steps."
        )
    train.flush()
    validation = np.concatenate(held)
    if len(validation) <= settings.block:
        raise PreftuneError(
            f"The documents kept for validation have {len(validation) - 1} tokens, less than a block: raise corpus.held_out."
        )
    np.save(folder / "validation.npy", validation)
    facts = {
        **{name: counts[name] for name in ("documents", "held_out", "empty", "invalid")},
        "tokens": settings.tokens,
        "validation_tokens": len(validation) - 1,
        "block": settings.block,
        "eos": eos,
    }
    write_json(folder / "corpus.json", facts)
    return facts


def open_corpus(folder: Path) -> Corpus:
    """Map the corpus that `write_corpus` wrote; a damaged or foreign folder raises PreftuneError."""
    facts = read_json(folder / "corpus.json")
    try:
        train, validation = (
            Blocks(np.load(folder / f"{part}.npy", mmap_mode="r"), facts["block"])
            for part in ("train", "validation")
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PreftuneError(f"{folder} cannot be read as a corpus ({error}): prepare it again.") from error
    return Corpus(train, validation)


def _tokenize(
    shards: Sequence[Path],
    tokenizer: PreTrainedTokenizerBase,
    settings: CorpusSettings,
    seed: int,
    held: list[np.ndarray],
    counts: Counter[str],
) -> Iterator[np.ndarray]:
    """Ids of each document to train on, EOS behind them; those of the others go to `held`."""
    texts = (text for shard in shards for text in read_documents(shard, settings.column))
    while chunk := list(islice(texts, _DOCUMENTS)):
        filled = [text for text in chunk if text]
        good = [text for text in filled if _is_unicode(text)]
        counts.update(empty=len(chunk) - len(filled), invalid=len(filled) - len(good))
        if not good:
            continue
        rows = tokenizer(good, add_special_tokens=False, split_special_tokens=True, verbose=False)
        for text, ids in zip(good, rows["input_ids"], strict=True):
            part = np.array([*ids, tokenizer.eos_token_id], held[0].dtype)
            if _is_held_out(text, settings.held_out, seed):
                counts["held_out"] += 1
                held.append(part)
            else:
                counts["documents"] += 1
                yield part


def _is_unicode(text: str) -> bool:
    """JSON can escape halves of surrogate pairs, which no tokenizer reads."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_held_out(text: str, share: float, seed: int) -> bool:
    digest = hashlib.sha256(f"{seed} {text}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def _cut(parts: Iterator[np.ndarray], tokens: int) -> Iterator[np.ndarray]:
    """The first `tokens` ids of all parts, in pieces that are large enough to be written."""
    waiting, size, written = list[np.ndarray](), 0, 0
    for part in parts:
        waiting.append(part[: tokens - size])
        size += len(waiting[-1])
        if size - written >= _PIECE or size == tokens:
            yield np.concatenate(waiting)
            waiting, written = [], size
        if size == tokens:
            return
    if waiting:
        yield np.concatenate(waiting)

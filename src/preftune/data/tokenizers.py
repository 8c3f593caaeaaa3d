"""The tokenizer of a model folder, without its model."""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from preftune.data.chat import marker_id
from preftune.errors import PreftuneError


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a `transformers` folder; one without the ChatML tokens is a PreftuneError."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError) as error:
        raise PreftuneError(
            f"{folder} holds no tokenizer that can be read: fetch or convert the model again."
        ) from error
    marker_id(tokenizer)
    return tokenizer


class AheadTokenizer:
    """A tokenizer that encodes texts ahead, many at once on all threads, and keeps their ids until newer ones need the room.

    Whole texts are encoded without special tokens, as `PreTrainedTokenizerBase.encode` does with `add_special_tokens=False`.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, room: int = 4_000_000) -> None:
        """Take `room`, the number of ids that are kept (40 bytes each)."""
        self._tokenizer = tokenizer
        self._room = room
        self._known: dict[str, list[int]] = {}
        self._single = lru_cache(1000)(self._encode_single)
        self.unk_token_id, self.name_or_path = tokenizer.unk_token_id, tokenizer.name_or_path

    def ahead(self, texts: Iterable[str]) -> None:
        """Encode texts that will be asked for."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if not new:
            return
        for text, ids in zip(new, self._encode_all(new), strict=True):
            self._known[text] = ids
            self._room -= len(ids)
        while self._room < 0:
            self._room += len(self._known.pop(next(iter(self._known))))

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """Return the ids of a text, encoded ahead or not."""
        found = self._known.get(text)
        return self._single(text) if found is None else found

    def _encode_single(self, text: str) -> list[int]:
        return self._encode_all([text])[0]

    def _encode_all(self, texts: list[str]) -> list[list[int]]:
        if not self._tokenizer.is_fast:
            return [self._tokenizer.encode(text, add_special_tokens=False) for text in texts]
        fast = self._tokenizer.backend_tokenizer
        # Its file may say otherwise.
        fast.no_truncation()
        fast.no_padding()
        fast.encode_special_tokens = self._tokenizer.split_special_tokens
        return [found.ids for found in fast.encode_batch_fast(texts, add_special_tokens=False)]

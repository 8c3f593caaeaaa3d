"""The tokenizer of a model folder, without its model."""

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
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
    """A tokenizer that encodes texts ahead, many at once on all threads while the caller goes on, and keeps their ids until newer
    ones need the room.

    Whole texts are encoded without special tokens, as `PreTrainedTokenizerBase.encode` does with `add_special_tokens=False`.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, room: int = 4_000_000) -> None:
        """Take `room`, the number of ids that are kept (40 bytes each)."""
        self._tokenizer = tokenizer
        self._room = room
        self._known: dict[str, list[int]] = {}
        self._coming: deque[tuple[list[str], Future[list[list[int]]]]] = deque()
        self._expected: set[str] = set()
        self._worker = ThreadPoolExecutor(1)
        self._single = lru_cache(1000)(self._encode_single)
        self.unk_token_id, self.name_or_path = tokenizer.unk_token_id, tokenizer.name_or_path
        if tokenizer.is_fast:  # its file may say otherwise
            tokenizer.backend_tokenizer.no_truncation()
            tokenizer.backend_tokenizer.no_padding()
            tokenizer.backend_tokenizer.encode_special_tokens = tokenizer.split_special_tokens

    def ahead(self, texts: Iterable[str]) -> None:
        """Encode texts that will be asked for."""
        new = [
            text for text in dict.fromkeys(texts) if text not in self._known and text not in self._expected
        ]
        if new:
            self._expected.update(new)
            self._coming.append((new, self._worker.submit(self._encode_all, new)))

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """Return the ids of a text, encoded ahead or not."""
        while text in self._expected:
            self._collect()
        found = self._known.get(text)
        return self._single(text) if found is None else found

    def _collect(self) -> None:
        texts, encoded = self._coming.popleft()
        self._expected.difference_update(texts)
        for text, ids in zip(texts, encoded.result(), strict=True):
            self._known[text] = ids
            self._room -= len(ids)
        # The newest stay, however long they are: they are asked for at once.
        while self._room < 0 and len(self._known) > len(texts):
            self._room += len(self._known.pop(next(iter(self._known))))

    def _encode_single(self, text: str) -> list[int]:
        return self._encode_all([text])[0]

    def _encode_all(self, texts: list[str]) -> list[list[int]]:
        if not self._tokenizer.is_fast:
            return [self._tokenizer.encode(text, add_special_tokens=False) for text in texts]
        encoded = self._tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [found.ids for found in encoded]

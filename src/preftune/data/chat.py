"""ChatML: token ids of a conversation prompt and of an answer to it.

Every message is ``<|im_start|>role\\n`` + content + ``<|im_end|>\\n``. Prefix, content and suffix are
tokenised apart and
then joined, so that the ids of a candidate answer never merge with the template around it (DPH code,
formatter).
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from preftune.errors import PreftuneError

START = "<|im_start|>"
MARKER = "<|im_end|>"


class ChatTokenizer(Protocol):
    """What this module needs of a `transformers` tokenizer."""

    def encode(self, text: str, *, add_special_tokens: bool = ...) -> list[int]: ...


def _ids(tokenizer: ChatTokenizer, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False))


def _special_id(tokenizer: ChatTokenizer, token: str) -> int:
    ids = _ids(tokenizer, token)
    if len(ids) != 1 or ids[0] == getattr(tokenizer, "unk_token_id", None):
        name = getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__
        raise PreftuneError(
            f"the tokenizer {name} has no single token {token}: add it to the tokenizer's special tokens "
            "or choose a model whose tokenizer knows ChatML."
        )
    return ids[0]


def marker_id(tokenizer: ChatTokenizer) -> int:
    """Return the id of ``<|im_end|>``; a tokenizer without the two ChatML tokens is a PreftuneError."""
    _special_id(tokenizer, START)
    return _special_id(tokenizer, MARKER)


def encode_prompt(tokenizer: ChatTokenizer, messages: Sequence[Mapping[str, str]]) -> list[int]:
    """Return the ids of `messages` followed by the opening of the assistant's turn; no leading BOS."""
    start, end = _special_id(tokenizer, START), marker_id(tokenizer)
    newline = _ids(tokenizer, "\n")
    ids: list[int] = []
    for message in messages:
        ids += [start, *_ids(tokenizer, message["role"] + "\n"), *_ids(tokenizer, message["content"])]
        ids += [end, *newline]
    return [*ids, start, *_ids(tokenizer, "assistant\n")]


def encode_completion(tokenizer: ChatTokenizer, text: str) -> list[int]:
    """Return the ids of an assistant's answer and of the ``<|im_end|>`` that closes it."""
    return [*_ids(tokenizer, text), marker_id(tokenizer)]


def truncate_prompt(prompt_ids: Sequence[int], excess: int) -> list[int]:
    """Return a prompt that lost its `excess` oldest tokens: the one rule by which a conversation is cut to a context.

    What is asked last and the opening of the assistant's turn stay; an answer is never cut.
    """
    if excess >= len(prompt_ids):
        raise PreftuneError(
            f"a prompt of {len(prompt_ids)} tokens cannot lose {excess}: its answers alone fill the context; drop this example."
        )
    return list(prompt_ids[max(0, excess) :])

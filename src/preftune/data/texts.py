"""Plain texts: compared without regard to case, punctuation and white space, and as token ids of a context and what
continues it.
"""

import re
from typing import Any

from preftune.errors import PreftuneError

_BREAKS = re.compile(r"[\W_]+")


def fold_text(text: str) -> str:
    """Return `text` in lower case, its words (runs of letters and digits) joined by single spaces."""
    return _BREAKS.sub(" ", text.lower()).strip()


def prefix_id(tokenizer: Any) -> int:
    """Return the id that stands before a text without context: the tokenizer's bos, else its eos."""
    return int(tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id)


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """Return the ids of a text with the special tokens of the tokenizer's own default, but never bos twice."""
    twice = text.startswith(tokenizer.decode(prefix_id(tokenizer)))
    options = {"add_special_tokens": False} if twice else {}
    return list(tokenizer.encode(text, **options))


def encode_continuation(tokenizer: Any, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """Return the ids of a context and of what continues it, split as lm-eval splits them.

    White space at the end of the context goes to the continuation; both are tokenised as one text, whose ids after the
    context's own number of ids are the continuation's.

    Raises:
        PreftuneError: the context is empty, or the continuation has no token of its own.
    """
    kept = context.rstrip()
    if not kept:
        raise PreftuneError("a context is empty: give the template a prompt.")
    before, whole = encode_text(tokenizer, kept), encode_text(tokenizer, context + continuation)
    if len(whole) <= len(before):
        raise PreftuneError(
            f"the answer {continuation!r:.40} adds no token to its context: repair or drop this row of the data."
        )
    return before, whole[len(before) :]

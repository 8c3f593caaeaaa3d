"""Texts compared without regard to case, punctuation and white space."""

import re

_BREAKS = re.compile(r"[\W_]+")


def fold_text(text: str) -> str:
    """Return `text` in lower case, its words (runs of letters and digits) joined by single spaces."""
    return _BREAKS.sub(" ", text.lower()).strip()

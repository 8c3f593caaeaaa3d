"""Reviewed waivers: changes of code that cannot change a number (`config/code_equivalence.tsv`).

A row says: what `rule` computes with code of digest `new` is what it computed with `old`. The rule then keeps the identity
that `old` gave it, so that nothing runs again. Records hold the digest that really ran, and `audit` shows which results
rest on a waiver. `python -m preftune waive` writes the rows; a person reviews them as any change of code.
"""

import csv
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from preftune.errors import PreftuneError

COLUMNS = ("rule", "old", "new", "reason")
Waivers = Mapping[tuple[str, str], str]
"""(rule, new digest) -> old digest."""


@cache
def read_waivers(path: Path) -> Waivers:
    """The waivers of a file; none where there is no file.

    Raises:
        PreftuneError: a row lacks a field, is no pair of two digests of one scheme, or repeats a new digest.
    """
    if not path.is_file():
        return {}
    rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines(), delimiter="\t"))
    if not rows or tuple(rows[0]) != COLUMNS:
        raise PreftuneError(f"{path}, line 1: the header must be {', '.join(COLUMNS)}, separated by tabs.")
    found: dict[tuple[str, str], str] = {}
    for number, row in enumerate(rows[1:], start=2):
        where = f"{path}, line {number}"
        if len(row) != len(COLUMNS) or not all(field.strip() for field in row):
            raise PreftuneError(f"{where}: give {', '.join(COLUMNS)}, separated by tabs, none of them empty.")
        rule, old, new, _ = row
        if old == new or old.partition(":")[0] != new.partition(":")[0]:
            raise PreftuneError(f"{where}: old and new must be two digests of one scheme.")
        if (rule, new) in found:
            raise PreftuneError(f"{where}: {rule} has a waiver for {new} already: keep one.")
        found[rule, new] = old
    return found


def canonical_digest(rule: str, digest: str, waivers: Waivers) -> str:
    """The oldest digest that stands for the same computation.

    Raises:
        PreftuneError: the waivers of the rule lead in a circle.
    """
    seen = {digest}
    while (rule, digest) in waivers:
        digest = waivers[rule, digest]
        if digest in seen:
            raise PreftuneError(
                f"config/code_equivalence.tsv: the rows of {rule} lead in a circle: take one out."
            )
        seen.add(digest)
    return digest

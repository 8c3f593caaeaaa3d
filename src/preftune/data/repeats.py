"""Rows that stand more than once in a data set: within a split, and in an evaluation split and train."""

import hashlib
from array import array
from typing import Any

import numpy as np

from preftune.data.schemas import Row, Schema
from preftune.data.texts import fold_text


class Repeats:
    """Hashes of every row of a data set's splits, 16 bytes a row: the whole of it but its identifier, and its question.

    Questions are compared as folded texts (no case, punctuation and white space), whole rows as they are.
    """

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._columns = [column for column in schema.columns if column != schema.identifier]
        self._rows: dict[str, array[int]] = {}
        self._questions: dict[str, array[int]] = {}

    def add(self, split: str, row: Row) -> None:
        """Add a checked row."""
        question = (fold_text(row[column]) for column in self._schema.question)
        self._rows.setdefault(split, array("Q")).append(_hash(row[column] for column in self._columns))
        self._questions.setdefault(split, array("Q")).append(_hash(question))

    def count(self) -> dict[str, dict[str, int]]:
        """Return for each split `repeated_rows`, which are equal to an earlier row of it, and for each but train how many of
        its rows have their question (`questions_in_train`) or are wholly (`rows_in_train`) in train.
        """
        counts = {
            split: {"repeated_rows": len(rows) - len(np.unique(rows))} for split, rows in self._rows.items()
        }
        for split in self._rows.keys() - {"train"} if "train" in self._rows else ():
            counts[split] |= {
                "questions_in_train": _shared(self._questions[split], self._questions["train"]),
                "rows_in_train": _shared(self._rows[split], self._rows["train"]),
            }
        return counts


def _shared(some: "array[int]", others: "array[int]") -> int:
    return int(np.isin(np.asarray(some), np.asarray(others)).sum())


def _hash(parts: Any) -> int:
    texts = (part if isinstance(part, str) else repr(part) for part in parts)
    data = "\0".join(texts).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest())


def describe_repeats(name: str, counts: dict[str, dict[str, int]]) -> list[str]:
    """Return a sentence for each split that has any."""
    sentences = []
    for split, count in counts.items():
        if count["repeated_rows"]:
            sentences.append(
                f"{count['repeated_rows']} rows of the split {split} of {name} repeat an earlier row of it."
            )
        if count.get("questions_in_train"):
            sentences.append(
                f"{count['questions_in_train']} questions of the split {split} of {name} stand in its train split too "
                f"({count['rows_in_train']} of them with the same answers)."
            )
    return sentences

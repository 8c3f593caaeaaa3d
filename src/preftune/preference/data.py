"""Training rows on disk (`datasets` folders of the mixes) as trees."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow
from datasets import Dataset, load_from_disk

from preftune.errors import PreftuneError
from preftune.training.trees import Ids, Tree

SFT_COLUMNS = ("example_id", "prompt_ids", "completion_ids")
PAIR_COLUMNS = ("example_id", "prompt_ids", "chosen_ids", "rejected_ids")


def read_completions(folder: Path) -> list[Tree]:
    """The rows of an SFT mix, one branch each: the answer with its `<|im_end|>`."""
    return _trees(_open_mix(folder, SFT_COLUMNS), SFT_COLUMNS)


def read_pairs(folder: Path) -> list[Tree]:
    """The rows of a preference mix, two branches each: the preferred answer, then the dispreferred one.

    Raises:
        PreftuneError: both answers of a pair are equal, so that it says nothing, and its column `faithful_bug` (if any) does
            not say that this is on purpose.
    """
    rows = _open_mix(folder, PAIR_COLUMNS)
    pairs = _trees(rows, PAIR_COLUMNS)
    faithful_bugs = rows["faithful_bug"] if "faithful_bug" in rows.column_names else [False] * len(pairs)
    for pair, faithful_bug in zip(pairs, faithful_bugs, strict=True):
        chosen, rejected = pair.branches
        if np.array_equal(chosen, rejected) and not faithful_bug:
            raise PreftuneError(
                f"{folder}: pair {pair.name} has two equal answers; drop this row, or prepare the mix again."
            )
    return pairs


def hash_trees(trees: Iterable[Tree]) -> str:
    """SHA-256 of names and token ids, in order: what any log-probability of the trees depends on, but for the model."""
    digest = hashlib.sha256()
    for tree in trees:
        parts = [
            tree.name.encode(),
            *(np.asarray(ids, dtype="<i4").tobytes() for ids in (tree.prompt, *tree.branches)),
        ]
        for part in parts:
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
    return digest.hexdigest()


def _open_mix(folder: Path, columns: Sequence[str]) -> Dataset:
    """The rows of a folder that has these columns."""
    try:
        rows = load_from_disk(str(folder))
    except IndexError as error:  # what `datasets` raises for a folder without rows
        raise PreftuneError(
            f"{folder} holds no rows; raise its max_tokens or its number of examples."
        ) from error
    except (FileNotFoundError, ValueError) as error:
        raise PreftuneError(
            f"{folder} is not a prepared training mix ({error}); run the step that prepares it."
        ) from error
    missing = [column for column in columns if column not in rows.column_names]
    if missing:
        raise PreftuneError(f"{folder} lacks the columns {', '.join(missing)}; prepare this mix again.")
    return rows


def _trees(rows: Dataset, columns: Sequence[str]) -> list[Tree]:
    """Rows as trees; columns: the name, the prompt, then a branch each."""
    trees: list[Tree] = []
    for table in rows.select_columns(list(columns)).with_format("arrow").iter(1000):
        names, *ids = (table[column] for column in columns)
        for name, prompt, *branches in zip(names.to_pylist(), *map(_ids, ids), strict=True):
            trees.append(Tree(name, prompt, tuple(branches)))
    return trees


def _ids(column: pyarrow.ChunkedArray) -> Iterator[Ids]:
    """The ids of each row as a view of the folder's mapped files, which needs no memory of the process's own."""
    for chunk in column.chunks:
        ids = chunk.values.to_numpy()
        for start, stop in pairwise(chunk.offsets.to_numpy()):
            yield ids[start:stop]

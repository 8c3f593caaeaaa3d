"""Splits of prepared data sets on disk."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from datasets import Dataset, load_from_disk

from preftune.errors import PreftuneError


def open_split(name: str, split: str, folders: Mapping[str, Path], asker: str) -> Dataset:
    """Return one split of a prepared data set; `asker` says in errors what needs it."""
    if name not in folders:
        raise PreftuneError(
            f"{asker} needs a prepared folder {name}, which was not given: add it to --datasets."
        )
    try:
        splits = load_from_disk(str(folders[name]))
    except (FileNotFoundError, ValueError) as error:
        raise PreftuneError(
            f"{folders[name]} is not a prepared data set: run the step that prepares it."
        ) from error
    if split not in splits:
        raise PreftuneError(
            f"{folders[name]} has no {split} split, which {asker} needs: take {asker} out of the tasks."
        )
    return splits[split]


def open_column(dataset: str, split: str, column: str, folders: Sequence[Path], asker: str) -> Dataset:
    """Return a split of the prepared data set whose folder is named `dataset`, if it has `column`."""
    rows = open_split(dataset, split, {Path(folder).name: Path(folder) for folder in folders}, asker)
    if column not in rows.column_names:
        raise PreftuneError(f"the data set {dataset} has no column '{column}'; name another data set.")
    return rows

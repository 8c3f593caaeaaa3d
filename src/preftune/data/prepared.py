"""Splits of prepared data sets on disk."""

from collections.abc import Mapping
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

"""Raw rows, prepared data sets and training mixes of tests: written where the steps write them, read back as they read them."""

import gzip
import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from datasets import DatasetDict, load_from_disk

from preftune.data.layouts import find_files
from preftune.data.mixes import PREFERENCE_FEATURES, SFT_FEATURES, Mix, draw_mix, preference_examples
from preftune.data.pools import Pool
from preftune.data.raw import Source, find_source, prepare
from preftune.settings.data import MixSettings


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """Write JSON Lines, compressed where the name ends in .gz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def prepare_splits(
    source: Source | str,
    root: Path,
    limit_train: int | None = None,
    limit_evaluation: int | None = None,
    seed: int = 0,
    official: bool = False,
) -> DatasetDict:
    """Prepare a data set of the folder `root`; its splits stay in memory."""
    if isinstance(source, str):
        source = find_source(source)
    with tempfile.TemporaryDirectory() as folder:
        prepare(source, find_files(source, root), Path(folder), limit_train, limit_evaluation, seed, official)
        splits = load_from_disk(folder, keep_in_memory=True)
        assert isinstance(splits, DatasetDict)
        return splits


@dataclass
class Drawn:
    """A mix: its examples as they stand on disk, and what was counted."""

    examples: list[dict[str, Any]]
    mix: Mix


def draw(
    pools: Sequence[Pool], settings: MixSettings, seed: int, encode: "partial[Any]", copies: int = 1
) -> Drawn:
    """Draw a mix and read it back."""
    features = PREFERENCE_FEATURES if encode.func is preference_examples else SFT_FEATURES
    with tempfile.TemporaryDirectory() as folder:
        mix = draw_mix(pools, settings, seed, encode, features, Path(folder), copies=copies)
        rows = load_from_disk(folder, keep_in_memory=True)
        assert rows.features == features
        return Drawn(rows.to_list(), mix)

"""Raw rows of a data set on disk, checked row by row and written as a `datasets` folder with explicit features."""

import hashlib
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from preftune.data.arrow import Spill, write_dataset
from preftune.data.repeats import Repeats
from preftune.data.row_files import SplitFiles
from preftune.data.schemas import SCHEMAS, Row, Schema, convert_row
from preftune.data.texts import fold_text
from preftune.errors import PreftuneError
from preftune.files import write_json
from preftune.names import nearest
from preftune.progress import track

DATASETS_FILE = Path(__file__).resolve().parents[3] / "config" / "datasets.yaml"


@dataclass(frozen=True)
class HeldOut:
    """A split that the files lack: a share of the prompts of another one."""

    of: str
    share: float


@dataclass(frozen=True)
class Source:
    """One data set of the registry: its schema, the file of each split, splits without labels, official counts, the splits that
    are held out of another one where they have no file, and its place on the hub (repo, configuration, revision, splits).
    """

    name: str
    schema: Schema
    files: dict[str, str]
    unlabelled: tuple[str, ...]
    counts: dict[str, int]
    held_out: dict[str, HeldOut]
    hub: dict[str, Any] = field(default_factory=dict)


def find_source(name: str, path: Path = DATASETS_FILE) -> Source:
    """Return the registry's entry for a data set of rows; an unknown name is a PreftuneError."""
    registry: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    known = {key: entry for key, entry in registry.items() if entry["schema"] in SCHEMAS}
    if name not in known:
        raise PreftuneError(
            f"the data set {name!r} is not a data set of rows in {path}: {nearest(name, known)}."
        )
    entry = known[name]
    return Source(
        name=name,
        schema=SCHEMAS[entry["schema"]],
        files=entry["sources"]["files"],
        unlabelled=tuple(entry.get("unlabelled", ())),
        counts=entry["counts"],
        held_out={split: HeldOut(**rule) for split, rule in entry.get("held_out", {}).items()},
        hub=entry["sources"].get("hub", {}),
    )


@dataclass(frozen=True)
class Prepared:
    """What became of a data set's rows: how many each split has, how many were dropped of each evaluation split because they
    ask nothing (pairs of equal answers), and which stand more than once (`preftune.data.repeats`).
    """

    rows: dict[str, int]
    dropped: Counter[str]
    repeats: dict[str, dict[str, int]]


def read_split(source: Source, split: str, files: SplitFiles) -> Iterator[Row]:
    """Yield the checked rows of one split, each with its `document` name (split and source row from 0).

    Answers to GLUE's hidden test splits go to its server by that number, so there the column idx must be the same.
    """
    labelled = split not in source.unlabelled
    identifier = source.schema.identifier
    seen: dict[Any, int] = {}
    for index, (place, row) in enumerate(files.rows()):
        checked = convert_row(source.schema, row, labelled, place)
        if identifier:
            key = checked[identifier]
            if key in seen:
                raise PreftuneError(
                    f"{place} has the same {identifier} {key!r} as row {seen[key]}: take one of them out."
                )
            seen[key] = index + 1
            if identifier == "idx" and not labelled and key != index:
                raise PreftuneError(
                    f"{place} has the idx {key!r} where {index} is expected: give the whole split in its published order, by "
                    "which GLUE's server counts the rows."
                )
        yield {"document": f"{split}-{index}", **checked}


def check_counts(source: Source, counts: Mapping[str, int]) -> None:
    """Refuse a split whose number of rows is not the official one."""
    for split, count in counts.items():
        expected = source.counts.get(split)
        if expected is not None and count != expected:
            raise PreftuneError(
                f"the split {split} of {source.name} has {count} rows where {expected} are expected: "
                "fetch it again, "
                "or correct the revision and its counts in config/datasets.yaml."
            )


def draw_order(rows: int, limit: int | None, seed: str) -> list[int]:
    """Return the places of `rows` rows in a seeded order, cut to `limit`."""
    order = list(range(rows))
    random.Random(seed).shuffle(order)
    return order[:limit]


class _Rows:
    """The rows of one split of a data set on their way to disk."""

    def __init__(self, source: Source, split: str, folder: Path, repeats: Repeats) -> None:
        self._schema, self._split, self._repeats = source.schema, split, repeats
        self._together: list[Row] = []
        self.spill = Spill(folder / f".{split}.rows", source.schema.features)
        self.dropped = 0

    def add(self, row: Row) -> None:
        self._repeats.add(self._split, row)
        if self._split != "train" and not self._schema.scorable(row):
            self.dropped += 1
        elif self._schema.regroup:  # small data sets, whose rows are made from several
            self._together.append(row)
        else:
            self.spill.add(row)

    def finish(self) -> None:
        for row in self._schema.regroup(self._together) if self._schema.regroup else ():
            self.spill.add(row)
        self.spill.finish()


def hold_out(source: Source, present: Mapping[str, SplitFiles], split: str, row: Row, seed: int) -> str:
    """Return the split that a row of `split` belongs to: its own, or one that has no file and takes a share of this one.

    A hash of the prompt decides, so that rows of one prompt (but for case, punctuation, white space) stay together.
    """
    for other, rule in source.held_out.items():
        if rule.of == split and other not in present:
            place = _fraction(f"{source.name}/{other}/{seed}/{fold_text(row['prompt'])}")
            if place < rule.share:
                return other
    return split


def _fraction(text: str) -> float:
    """A number from 0 to 1 that the text's hash decides."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64


def prepare(
    source: Source,
    files: Mapping[str, SplitFiles],
    folder: Path,
    limit_train: int | None,
    limit_evaluation: int | None,
    seed: int,
    official: bool,
) -> Prepared:
    """Write every split of a data set, checked, shuffled by `seed` and cut, as the folder of a `datasets.DatasetDict`;
    `official` also checks the full counts.
    """
    repeats = Repeats(source.schema)
    held = [split for split, rule in source.held_out.items() if split not in files and rule.of in files]
    splits = {split: _Rows(source, split, folder, repeats) for split in (*files, *held)}
    counts = {}
    for split, place in files.items():
        counts[split] = 0
        rows = read_split(source, split, place)
        total = source.counts.get(split) if official else None
        for row in track(rows, f"rows, {split}", total=total, unit="row") if total else rows:
            counts[split] += 1
            splits[hold_out(source, files, split, row, seed)].add(row)
    if official:
        check_counts(source, counts)
    written = {}
    for split, kept in splits.items():
        kept.finish()
        limit = limit_train if split == "train" else limit_evaluation
        order = draw_order(kept.spill.rows, limit, f"{source.name}/{split}/{seed}")
        if not order:
            raise PreftuneError(
                f"the split {split} of {source.name} has no usable row: use a file with more rows."
            )
        write_dataset(kept.spill, order, folder / split)
        written[split] = len(order)
    write_json(folder / "dataset_dict.json", {"splits": list(splits)})
    dropped = Counter({split: kept.dropped for split, kept in splits.items()})
    return Prepared(written, +dropped, repeats.count())

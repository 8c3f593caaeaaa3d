"""Snapshots of hub repositories, with the file names that were recorded there."""

import gzip
import json
from pathlib import Path

import pytest

from preftune.data.hub import arrange_snapshot, find_shards
from preftune.data.layouts import find_files
from preftune.data.raw import find_source, read_split
from preftune.errors import PreftuneError
from preftune.settings.sources import DatasetSource

PAIRS = [{"system": "Be brief.", "question": f"Q{i}", "chosen": "a", "rejected": "b"} for i in range(3)]
ORCA = find_source("orca-dpo-pairs")
# What stands beside the rows; dataset_infos.json in older repositories.
OTHERS = {".gitattributes": "*.jsonl filter=lfs\n", "README.md": "# Pairs\n", "dataset_infos.json": "{}\n"}


def orca(**changes: object) -> DatasetSource:
    fields = {"name": ORCA.name, "kind": "hub", "repo": "Intel/orca_dpo_pairs", "configuration": "default",
              "splits": {"train": "train"}, "files": ORCA.files}  # fmt: skip
    return DatasetSource.model_validate(fields | changes)


def write_snapshot(folder: Path, files: dict[str, str]) -> Path:
    for name, text in (OTHERS | files).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return folder


def lines(rows: list[dict[str, str]]) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)


@pytest.mark.parametrize(
    "files",
    [
        {"orca_rlhf.jsonl": lines(PAIRS)},
        {"data/train-00000-of-00002.jsonl": lines(PAIRS[:1]), "data/train-00001-of-00002.jsonl": lines(PAIRS[1:])},
        {"default/train.json.gz": lines(PAIRS), "default/test.json.gz": lines(PAIRS[:1])},
    ],
)  # fmt: skip
def test_json_lines_become_the_raw_file(tmp_path: Path, files: dict[str, str]) -> None:
    arrange_snapshot(orca(), write_snapshot(tmp_path / "snapshot", files), tmp_path / "raw")
    rows = read_split(ORCA, "train", find_files(ORCA, tmp_path / "raw")["train"])
    assert [row["prompt"] for row in rows] == ["Q0", "Q1", "Q2"]


@pytest.mark.parametrize(
    ("split", "files"),
    [
        ("train", {"one.jsonl": lines(PAIRS), "other.jsonl": lines(PAIRS)}),
        ("test", {"orca_rlhf.jsonl": lines(PAIRS)}),
    ],
)
def test_a_file_that_names_no_split_is_taken_only_where_it_must_be_the_training_split(
    tmp_path: Path, split: str, files: dict[str, str]
) -> None:
    snapshot = write_snapshot(tmp_path / "snapshot", files)
    with pytest.raises(PreftuneError, match=f"no parquet file of split {split}, nor one of JSON"):
        arrange_snapshot(orca(splits={"train": split}), snapshot, tmp_path / "raw")


def test_parquet_comes_first(tmp_path: Path) -> None:
    snapshot = write_snapshot(
        tmp_path, {"data/train-00000-of-00001.parquet": "", "train.jsonl": lines(PAIRS)}
    )
    assert find_shards(snapshot, None, "train") == [snapshot / "data/train-00000-of-00001.parquet"]

"""The repositories of config/datasets.yaml, by the file names that the hub's own pages and other projects' pins show at the pinned commits."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from preftune.data.hub import arrange_snapshot, select_shards
from preftune.data.raw import DATASETS_FILE
from preftune.files import read_jsonl
from preftune.settings.sources import DatasetSource

REGISTRY = yaml.safe_load(DATASETS_FILE.read_text())
BESIDE = [".gitattributes", "README.md", "dataset_infos.json"]
# Data set, a split of ours, what its repository holds beside the rest of the files, and what is taken.
LAYOUTS = [
    ("glue-cola", "validation", ["cola/validation-00000-of-00001.parquet"], ["cola/train-00000-of-00001.parquet", "ax/test-00000-of-00001.parquet"]),
    ("glue-mnli", "validation_matched", ["mnli/validation_matched-00000-of-00001.parquet"],
     ["mnli/validation_mismatched-00000-of-00001.parquet", "mnli_matched/validation-00000-of-00001.parquet"]),
    ("race-high", "test", ["high/test-00000-of-00001.parquet"], ["all/test-00000-of-00001.parquet", "middle/test-00000-of-00001.parquet"]),
    ("hellaswag", "validation", ["data/validation-00000-of-00001.parquet"], ["data/train-00000-of-00001.parquet"]),
    ("winogrande", "train", ["winogrande_xl/train-00000-of-00001.parquet"], ["winogrande_l/train-00000-of-00001.parquet"]),
    ("arc-challenge", "test", ["ARC-Challenge/test-00000-of-00001.parquet"], ["ARC-Easy/test-00000-of-00001.parquet"]),
    ("boolq", "validation", ["boolq/validation-00000-of-00001.parquet"], ["multirc/validation-00000-of-00001.parquet"]),
    ("piqa", "validation", ["piqa_validation.parquet"], ["piqa_train.parquet", "piqa_test.parquet"]),
    ("mmlu", "train", ["all/auxiliary_train-00000-of-00001.parquet"], ["all/test-00000-of-00001.parquet", "anatomy/test-00000-of-00001.parquet"]),
    ("squad-v2", "train", ["squad_v2/train-00000-of-00001.parquet"], ["squad_v2/validation-00000-of-00001.parquet"]),
    ("gsm8k", "test", ["main/test-00000-of-00001.parquet"], ["socratic/test-00000-of-00001.parquet"]),
    ("orca-dpo-pairs", "train", ["orca_rlhf.jsonl"], []),
    ("reward-bench", "test", ["data/filtered-00000-of-00001.parquet"], ["data/raw-00000-of-00001.parquet"]),
    ("hh-rlhf-harmless", "test", ["harmless-base/test.jsonl.gz"], ["helpful-base/test.jsonl.gz", "harmless-base/train.jsonl.gz"]),
    ("alpaca-cleaned", "train", ["alpaca_data_cleaned.json"], []),
    ("cnn-dailymail", "train", ["3.0.0/train-00000-of-00003.parquet", "3.0.0/train-00001-of-00003.parquet", "3.0.0/train-00002-of-00003.parquet"],
     ["1.0.0/train-00000-of-00003.parquet", "3.0.0/test-00000-of-00001.parquet"]),
    ("open-orca", "train", ["1M-GPT4-Augmented.parquet", "3_5M-GPT3_5-Augmented.parquet"], ["OpenOrcaLogo.png"]),
    ("tinystories-summary", "train", ["data/train-00000-of-00008-c63ccd5d5290f4a1.parquet", "data/train-00007-of-00008-771d8aa2d5ce5c95.parquet"], []),
]  # fmt: skip


@pytest.mark.parametrize(
    ("dataset", "split", "taken", "others"), LAYOUTS, ids=[f"{one[0]}-{one[1]}" for one in LAYOUTS]
)
def test_each_split_is_found_where_its_repository_has_it(
    dataset: str, split: str, taken: list[str], others: list[str]
) -> None:
    hub = REGISTRY[dataset]["sources"]["hub"]
    names = [*taken, *others, *BESIDE]
    assert select_shards(names, hub["configuration"], hub["splits"][split]) == sorted(taken)


def source(dataset: str) -> DatasetSource:
    sources = REGISTRY[dataset]["sources"]
    return DatasetSource.model_validate(
        {"name": dataset, "kind": "hub", "files": sources["files"], **sources["hub"]}
    )


def test_a_json_list_becomes_rows(tmp_path: Path) -> None:
    rows = [
        {"instruction": "Say é.", "input": "", "output": "é"},
        {"instruction": "b", "input": "c", "output": "d"},
    ]
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot/alpaca_data_cleaned.json").write_text(json.dumps(rows, indent=1))
    arrange_snapshot(source("alpaca-cleaned"), tmp_path / "snapshot", tmp_path / "raw")
    assert read_jsonl(tmp_path / "raw/alpaca_cleaned/train.jsonl.gz") == rows


def test_tables_that_name_no_split_are_joined_in_order(tmp_path: Path) -> None:
    (tmp_path / "snapshot").mkdir()
    for name, values in (("3_5M-GPT3_5-Augmented", [3, 4]), ("1M-GPT4-Augmented", [1, 2])):
        table = pa.table({"id": values, "question": [str(value) for value in values]})
        pq.write_table(table, tmp_path / f"snapshot/{name}.parquet")
    arrange_snapshot(source("open-orca"), tmp_path / "snapshot", tmp_path / "raw")
    assert pq.read_table(tmp_path / "raw/open_orca/train.parquet").column("id").to_pylist() == [1, 2, 3, 4]

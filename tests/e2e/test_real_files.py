"""Every file of the folder of real data: taken as local, prepared, trained on for a few steps and scored, by a real language model.

The model has 260,032 parameters and its scores mean nothing. What trains is tested on rows of train splits; splits that are for
evaluation alone are scored.
"""

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer, Swinv2Config, Swinv2Model

from preftune.data.raw import DATASETS_FILE, find_source
from preftune.data.schemas import SCHEMAS
from preftune.data.tasks.registry import TASKS_FILE, find_tasks, read_rows
from preftune.files import read_json, read_jsonl, write_json
from tests.e2e.tiny_models import ROOT
from tests.scripts.steps import succeed
from tests.stories import convert_stories

DATA = Path(os.environ.get("PREFTUNE_REAL_DATA", ROOT / "../shared/data")).resolve()
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data in {DATA} (set PREFTUNE_REAL_DATA)")

# Offensive text, so that no task of the project asks for it.
HARMLESS = {"suite": "preference", "dataset": "hh-rlhf-harmless", "split": "test", "metrics": ["accuracy"],
            "template": "pairs", "mixes": []}  # fmt: skip
CONTEXT = 2048  # a row of RACE has about a thousand tokens of the model's 512
MIX = {"examples": 60, "max_tokens": 1024, "long": "truncate"}
FEW = {"steps": 3, "batch": 4, "learning_rate": 1.0e-3}
PHOTOGRAPHS = {"splits": {"train": "val2017", "test": "train2017"}, "validation_fraction": 0.05}
# The files of whole official splits; the others hold a part of one.
WHOLE = [
    "arc-challenge/train", "arc-challenge/test", "arc-easy/train", "arc-easy/test", "glue-cola/train", "glue-cola/validation",
    "glue-qnli/validation", "glue-rte/train", "glue-rte/validation", "glue-sst2/validation", "glue-stsb/validation",
    "glue-wnli/train", "glue-wnli/validation", "openbookqa/train", "openbookqa/test", "race-high/validation",
    "race-middle/validation",
]  # fmt: skip


def files_of_rows() -> dict[str, dict[str, Path]]:
    """The file of each split of each data set that is there."""
    registry = yaml.safe_load(DATASETS_FILE.read_text(encoding="utf-8"))
    listed = {name: row["sources"]["files"] for name, row in registry.items() if row["schema"] in SCHEMAS}
    found = {
        name: {split: DATA / file for split, file in files.items() if (DATA / file).is_file()}
        for name, files in listed.items()
    }
    return {name: files for name, files in found.items() if files}


ROWS = files_of_rows() if DATA.is_dir() else {}


def tasks_of(splits: dict[str, list[str]]) -> list[str]:
    """Every task with an answer whose split is there."""
    rows = read_rows() | {"hh-rlhf-harmless": HARMLESS}
    return [
        name
        for name, row in rows.items()
        if row["metrics"] and row["split"] in splits.get(row["dataset"], [])
    ]


def trained_on(mix: str, splits: dict[str, list[str]]) -> list[str]:
    """The tasks of a mix whose train split is there, and in SFT the data sets of dialogues."""
    tasks = [
        name
        for name, row in read_rows().items()
        if mix in row["mixes"] and "train" in splits.get(row["dataset"], [])
    ]
    talks = [name for name in splits if find_source(name).schema.columns.keys() >= {"prompt", "response"}]
    return tasks + (talks if mix == "sft" else [])


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("real")


@pytest.fixture(scope="module")
def base(work: Path) -> Path:
    """The model, taken as a local one, with the two chat tokens that it lacks."""
    convert_stories(DATA / "models/stories260k", work / "stories", CONTEXT)
    source = {"name": "stories260k", "kind": "local", "path": str(work / "stories"), "chat_tokens": True}
    return succeed("fetch_model", source, output=work / "base")


@pytest.fixture(scope="module")
def raw(work: Path) -> Path:
    """The whole folder, fetched as a local source."""
    return succeed(
        "fetch_dataset", {"name": "real-rows", "kind": "local", "path": str(DATA)}, output=work / "raw"
    )


@pytest.fixture(scope="module")
def prepared(work: Path, raw: Path) -> dict[str, Path]:
    settings = {"limit_train": 40, "limit_evaluation": 6}
    return {
        name: succeed("prepare_dataset", settings, raw=raw, dataset=name, output=work / "data" / name)
        for name in ROWS
    }


@pytest.fixture(scope="module")
def splits(prepared: dict[str, Path]) -> dict[str, list[str]]:
    """Prepared splits, held-out ones too."""
    return {
        name: json.loads((folder / "dataset_dict.json").read_text())["splits"]
        for name, folder in prepared.items()
    }


@pytest.fixture(scope="module")
def mixes(work: Path, base: Path, prepared: dict[str, Path], splits: dict[str, list[str]]) -> dict[str, Path]:
    found = {}
    for mix in ("sft", "preference"):
        settings = MIX | {"tasks": trained_on(mix, splits)}
        found[mix] = succeed(f"prepare_{mix}_mix", settings, datasets=list(prepared.values()), tokenizer=base,
                             output=work / f"{mix}-mix")  # fmt: skip
    return found


@pytest.fixture(scope="module")
def tuned(work: Path, base: Path, mixes: dict[str, Path]) -> Path:
    settings = {"lora": None, "training": FEW}
    return succeed("train_sft", settings, base=base, data=mixes["sft"], output=work / "sft")


@pytest.fixture(scope="module")
def aligned(work: Path, base: Path, tuned: Path, mixes: dict[str, Path]) -> Path:
    paths = {"base": base, "model": tuned, "data": mixes["preference"]}
    reference = succeed("compute_reference", {}, output=work / "reference", **paths)
    settings = {"dph": "separable", "policy": "dpo", "training": FEW}
    return succeed("train_alignment", settings, reference=reference, output=work / "aligned", **paths)


@pytest.fixture(scope="module")
def scores(
    work: Path,
    base: Path,
    tuned: Path,
    aligned: Path,
    prepared: dict[str, Path],
    splits: dict[str, list[str]],
) -> Path:
    """Scores of the aligned model on every task, its implicit rewards against the SFT model."""
    registry = work / "tasks.yaml"
    registry.write_text(TASKS_FILE.read_text() + yaml.safe_dump({"hh-rlhf-harmless": HARMLESS}))
    settings = {"tasks": tasks_of(splits), "limit": 3, "long": "truncate"}
    paths: dict[str, Any] = {"base": base, "datasets": list(prepared.values())}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("preftune.evaluation.evaluate.find_tasks", partial(find_tasks, path=registry))
        before = succeed("evaluate_tasks", settings, model=tuned, output=work / "scores-sft", **paths)
        return succeed(
            "evaluate_tasks", settings, model=aligned, reference=before, output=work / "scores", **paths
        )


def test_the_model_is_the_one_that_tells_stories(work: Path, base: Path) -> None:
    """Converted and taken as local it goes on as llama2.c does."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    start = tokenizer("Once upon a time", add_special_tokens=False)["input_ids"]
    told = model.generate(torch.tensor([[1, *start]]), max_new_tokens=40, do_sample=False)[0]
    story = tokenizer.decode(told, skip_special_tokens=True)
    assert story.startswith(
        "Once upon a time, there was a little girl named Lily. She loved to play outside in the park."
    )


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_split_has_its_official_rows(name: str) -> None:
    dataset, split = name.split("/")
    source = find_source(dataset)
    assert len(read_jsonl(ROWS[dataset][split])) == source.counts[split]


def test_every_data_set_of_rows_is_prepared(prepared: dict[str, Path]) -> None:
    for name, folder in prepared.items():
        rows = read_json(folder / "run.json")["facts"]["rows"]
        assert set(ROWS[name]) <= set(rows) and all(rows.values()), name


def test_every_train_split_is_trained_on(
    mixes: dict[str, Path], splits: dict[str, list[str]], aligned: Path, tuned: Path
) -> None:
    drawn = {mix: read_json(folder / "run.json")["facts"]["tasks"] for mix, folder in mixes.items()}
    for mix, tasks in drawn.items():
        assert set(tasks) == set(trained_on(mix, splits)), mix
    rows = read_rows()
    trained = {rows[task]["dataset"] if task in rows else task for tasks in drawn.values() for task in tasks}
    # WNLI is never trained on (DPH paper).
    assert trained == {name for name, files in ROWS.items() if "train" in files} - {"glue-wnli"}
    for folder in (tuned, aligned):
        metrics = read_jsonl(folder / "metrics.jsonl")
        assert len(metrics) == FEW["steps"]
        assert all(np.isfinite(row["loss"]) for row in metrics)


def test_every_task_is_scored_by_log_probability_and_reward(
    scores: Path, splits: dict[str, list[str]]
) -> None:
    tasks = tasks_of(splits)
    rows = read_rows() | {"hh-rlhf-harmless": HARMLESS}
    scored = {rows[task]["dataset"] for task in tasks}
    for task in tasks:
        table = pd.read_parquet(scores / f"{task}.parquet")
        assert read_json(scores / f"{task}.json")["n"] == 3, task
        for column in ("log_probability", "reward", "log_ratio"):
            assert np.isfinite(table[column]).all(), (task, column)
        assert table["reward"].nunique() > 1, task
    talks = {name for name in ROWS if "response" in find_source(name).schema.columns}
    assert scored | talks == set(ROWS)


@pytest.fixture(scope="module")
def captions(work: Path, raw: Path) -> Path:
    """Every photograph is opened."""
    return succeed("prepare_captions", PHOTOGRAPHS, raw=raw, output=work / "captions")


@pytest.fixture(scope="module")
def features(work: Path, raw: Path, captions: Path) -> Path:
    torch.manual_seed(0)
    config = Swinv2Config(
        image_size=64, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4, mlp_ratio=2.0
    )
    Swinv2Model(config).save_pretrained(work / "encoder")
    write_json(work / "encoder/preprocessor_config.json", {})
    return succeed("compute_features", {"batch": 32}, encoder=work / "encoder", raw=raw, images=captions,
                   output=work / "features")  # fmt: skip


@pytest.fixture(scope="module")
def captioned(work: Path, base: Path, captions: Path, features: Path, prepared: dict[str, Path]) -> Path:
    """Scores and captions of a captioner after a few steps."""
    paths = {"base": base, "features": features, "captions": captions}
    settings = {
        "adapter": {"kind": "lora", "context": "specific", "targets": "AF", "rank": 4},
        "training": FEW | {"optimizer": "adam", "clip_norm": None},
    }
    model = succeed("train_captioner", settings, output=work / "captioner", **paths)
    scores = work / "captioner-scores"
    settings = {
        "limit": 3,
        "text": {"dataset": "race-middle", "split": "validation", "passages": 2, "tokens": 64},
        "max_new_tokens": 12,
        "batch": 3,
    }
    files = {"output": "test.json", "items": "test.parquet", "validation": "validation.json", "text": "text.json",
             "validation-items": "validation.parquet", "text-items": "text.parquet", "generated": "captions.jsonl"}  # fmt: skip
    succeed("evaluate_captioner", settings, model=model, texts=prepared["race-middle"],
            **paths, **{option: scores / file for option, file in files.items()})  # fmt: skip
    succeed("evaluate_captions", {}, captions=scores / "captions.jsonl", output=scores / "metrics.json",
            items=scores / "metrics.parquet")  # fmt: skip
    return scores


def test_every_photograph_is_opened_and_captioned(captions: Path) -> None:
    images = pd.read_parquet(captions / "images.parquet")
    assert sorted(images["file"]) == sorted(
        path.relative_to(DATA).as_posix() for path in DATA.glob("coco/*/*.jpg")
    )
    assert images["split"].value_counts().to_dict() == {"train": 190, "test": 80, "validation": 10}
    assert pd.read_parquet(captions / "captions.parquet").groupby("image_id").size().min() >= 5


def test_photographs_are_trained_on_and_captioned(captioned: Path) -> None:
    for file in ("test", "validation"):
        assert np.isfinite(read_json(captioned / f"{file}.json")["perplexity"])
    assert np.isfinite(read_json(captioned / "text.json")["text_perplexity"])
    rows = read_jsonl(captioned / "captions.jsonl")
    assert len(rows) == 3 and all(len(row["references"]) >= 5 for row in rows)
    metrics = read_json(captioned / "metrics.json")["metrics"]
    assert {"BLEU-4", "METEOR", "ROUGE-L", "CIDEr"} <= set(metrics)
    assert all(np.isfinite(value) for value in metrics.values() if value is not None)


def test_no_file_of_the_folder_is_left_out(captions: Path) -> None:
    """What is there is read by one of the tests above."""
    read = {path for files in ROWS.values() for path in files.values()}
    read |= {DATA / file for file in pd.read_parquet(captions / "images.parquet")["file"]}
    read |= {DATA / f"coco/annotations/captions_{source}.json" for source in PHOTOGRAPHS["splits"].values()}
    read |= {DATA / "models/stories260k" / name for name in ("stories260K.bin", "tok512.bin")}
    assert sorted(path for path in DATA.rglob("*") if path.is_file() and path not in read) == [
        DATA / "README.md"
    ]

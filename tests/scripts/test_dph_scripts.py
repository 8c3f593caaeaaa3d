"""The command lines of the DPH stages, one after another, on a tiny model and without Snakemake."""

from pathlib import Path

import pandas as pd
import pytest
from transformers import AutoTokenizer

from preftune.evaluation.metrics import LOG_SCORES
from preftune.files import read_json, read_jsonl, sha256_file
from tests.scripts.steps import EVALUATION, datasets_of, fail, save_datasets, succeed
from tests.tiny import tiny_language_model
from tests.unit.preference.helpers import save_mixes

TRAINING = {"steps": 3, "batch": 4, "learning_rate": 1e-3}
SFT = {"training": TRAINING, "lora": {"rank": 2}}
ALIGNMENT = {"dph": "separable", "policy": "dpo", "freeze": "lora", "training": TRAINING}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model, both mixes, two data sets, and the SFT checkpoint made of them."""
    folder = tmp_path_factory.mktemp("dph")
    tiny_language_model(folder / "base")
    save_mixes(AutoTokenizer.from_pretrained(folder / "base"), folder)
    save_datasets(folder)
    succeed("train_sft", SFT, base=folder / "base", data=folder / "sft-mix", output=folder / "sft")
    return folder


@pytest.fixture(scope="module")
def reference(work: Path) -> Path:
    return succeed(
        "compute_reference",
        {},
        base=work / "base",
        model=work / "sft",
        data=work / "preference-mix",
        output=work / "reference",
    )


@pytest.fixture(scope="module")
def aligned(work: Path, reference: Path) -> Path:
    return succeed(
        "train_alignment",
        ALIGNMENT,
        base=work / "base",
        model=work / "sft",
        data=work / "preference-mix",
        reference=reference,
        output=work / "aligned",
    )


def test_sft_writes_an_adapter_with_its_record(work: Path) -> None:
    assert len(read_jsonl(work / "sft" / "metrics.jsonl")) == 3
    record = read_json(work / "sft" / "run.json")
    assert record["facts"]["steps"] == 3
    # q_proj: 2 * (32 + 32) and v_proj: 2 * (32 + 16), in 2 layers.
    assert record["facts"]["trainable_parameters"] == 448
    assert (work / "sft" / "adapter_model.safetensors").exists()


def test_sft_repeats_byte_for_byte(work: Path) -> None:
    again = succeed("train_sft", SFT, base=work / "base", data=work / "sft-mix", output=work / "sft-again")
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert sha256_file(again / name) == sha256_file(work / "sft" / name)


def test_reference_table(reference: Path) -> None:
    table = pd.read_parquet(reference / "logps.parquet")
    assert list(table.columns) == [
        "example_id",
        "chosen_logp",
        "rejected_logp",
        "chosen_tokens",
        "rejected_tokens",
    ]
    assert len(table) == 8 and (table["chosen_logp"] < 0).all()


def test_alignment_starts_at_the_reference(aligned: Path) -> None:
    """At step 1 the policy is the reference, so every implicit reward is 0 and the cDPO loss is log 2."""
    first = read_jsonl(aligned / "metrics.jsonl")[0]
    assert first["policy_loss"] == pytest.approx(0.693147, abs=1e-4)
    assert first["implicit_margin"] == pytest.approx(0.0, abs=1e-4)
    assert {"chosen_reward", "rejected_reward", "margin", "accuracy", "dph_loss"} <= set(first)
    assert read_json(aligned / "head.json")["pooler"] == "swiglu_bert"
    assert (aligned / "head.safetensors").exists() and (aligned / "run.json").exists()


def test_alignment_leaves_the_sft_checkpoint_alone(work: Path, reference: Path) -> None:
    name = "adapter_model.safetensors"
    before = sha256_file(work / "sft" / name)
    again = succeed(
        "train_alignment",
        ALIGNMENT,
        base=work / "base",
        model=work / "sft",
        data=work / "preference-mix",
        reference=reference,
        output=work / "aligned-again",
    )
    assert sha256_file(work / "sft" / name) == before != sha256_file(again / name)


def test_alignment_repeats_byte_for_byte(work: Path, aligned: Path) -> None:
    for name in ("adapter_model.safetensors", "head.safetensors"):
        assert sha256_file(work / "aligned-again" / name) == sha256_file(aligned / name)


def test_dpo_only_has_no_head_and_dph_only_no_reference(
    work: Path, reference: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = {"base": work / "base", "model": work / "sft", "data": work / "preference-mix"}
    only_dpo = succeed(
        "train_alignment", ALIGNMENT | {"dph": "none"}, reference=reference, output=work / "dpo", **paths
    )
    assert not (only_dpo / "head.json").exists()
    only_dph = succeed("train_alignment", ALIGNMENT | {"policy": "none"}, output=work / "dph", **paths)
    assert "policy_loss" not in read_jsonl(only_dph / "metrics.jsonl")[0]
    fail("train_alignment", ALIGNMENT, output=work / "fails", **paths)
    assert "pass its folder" in capsys.readouterr().err


def test_evaluation_of_base_and_aligned(work: Path, aligned: Path) -> None:
    base = succeed(
        "evaluate_tasks",
        EVALUATION,
        base=work / "base",
        datasets=datasets_of(work),
        output=work / "scores-base",
    )
    report = read_json(base / "cola.json")
    assert report["n"] == 3 and set(report["metrics"]) == {*LOG_SCORES}
    assert pd.read_parquet(base / "cola.parquet")["reward"].isna().all()
    scores = succeed(
        "evaluate_tasks",
        EVALUATION,
        base=work / "base",
        model=aligned,
        datasets=datasets_of(work),
        output=work / "scores",
    )
    for task in ("cola", "stsb"):
        assert set(read_json(scores / f"{task}.json")["metrics"]) == {*LOG_SCORES, "reward"}
    table = pd.read_parquet(scores / "stsb.parquet")
    assert len(table) == 18 and table["reward"].notna().all()
    assert table["gold"].unique().tolist() == ["5.0", "1.5", "2.4"]


def test_unknown_task_is_one_sentence(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = {"base": work / "base", "datasets": datasets_of(work), "output": work / "never"}
    fail("evaluate_tasks", EVALUATION | {"tasks": ["colla"]}, **paths)
    error = capsys.readouterr().err
    assert "'cola'" in error and "Traceback" not in error


def test_second_opinion_of_the_aligned_model(work: Path, aligned: Path) -> None:
    output = succeed(
        "evaluate_second_opinion",
        {"chats": ["cola"], "texts": ["cola"], "limit": 2, "batch": 8},
        base=work / "base",
        model=aligned,
        datasets=datasets_of(work),
        output=work / "opinion.json",
    )
    found = read_json(output)["comparisons"]
    assert [(one["task"], one["templates"]) for one in found] == [("cola", "chat"), ("cola", "lm-eval")]
    for result in found:
        assert result["n"] == 2 and result["agreement"] == 1.0 and result["close"] == []
        assert result["max_difference"] < 1e-4
    assert (work / "opinion.run.json").exists()

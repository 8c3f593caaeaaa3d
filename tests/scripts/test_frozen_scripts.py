"""A run that trains its head alone: trained on cached states, evaluated without running the language model again."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from preftune.evaluation.metrics import LOG_SCORES
from preftune.files import read_json, read_jsonl, sha256_file
from preftune.models.policy import load_policy
from preftune.preference.alignment import AlignmentObjective, parameter_groups, start_alignment
from preftune.preference.data import read_pairs
from preftune.preference.heads import PreferenceModel
from preftune.settings.alignment import AlignmentSettings
from preftune.training.loop import fit
from tests.scripts.steps import EVALUATION, datasets_of, fail, save_datasets, succeed
from tests.tiny import tiny_language_model
from tests.unit.preference.helpers import place_in, save_mixes

TRAINING = {"steps": 4, "batch": 4, "learning_rate": 1e-2}
HEAD = {"dph": "separable", "policy": "none", "freeze": "model", "flipped": 0.25, "training": TRAINING}
# Columns of a score table that do not come from the head.
OF_THE_MODEL = [
    "document",
    "candidate",
    "label",
    "log_probability",
    "tokens",
    "end_log_probability",
    "is_gold",
    "gold",
]


@pytest.fixture(scope="module", params=["adapter", "whole"])
def work(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Base model, data, an SFT checkpoint of either kind, and what is computed once from it."""
    folder = tmp_path_factory.mktemp(request.param)
    tiny_language_model(folder / "base")
    save_mixes(AutoTokenizer.from_pretrained(folder / "base"), folder)
    save_datasets(folder)
    sft = {"training": TRAINING, "lora": {"rank": 2} if request.param == "adapter" else None}
    succeed("train_sft", sft, base=folder / "base", data=folder / "sft-mix", output=folder / "sft")
    common = {"base": folder / "base", "model": folder / "sft"}
    succeed(
        "compute_reference",
        {"states": True},
        **common,
        data=folder / "preference-mix",
        output=folder / "reference",
    )
    succeed(
        "evaluate_tasks",
        EVALUATION | {"states": True},
        **common,
        datasets=datasets_of(folder),
        output=folder / "sft-scores",
    )
    succeed(
        "train_heads",
        HEAD,
        model=folder / "sft",
        reference=folder / "reference",
        output=folder / "frozen",
        seed=3,
    )
    succeed(
        "evaluate_heads",
        EVALUATION,
        model=folder / "frozen",
        reference=folder / "sft-scores",
        output=folder / "frozen-scores",
    )
    return folder


def test_the_language_model_is_the_sft_models_to_the_last_bit(work: Path) -> None:
    """Files, and logits of the folder as it is loaded again."""
    own = {"run.json", "metrics.jsonl"}
    files = {path.name for path in (work / "sft").iterdir()} - own
    assert {path.name for path in (work / "frozen").iterdir()} == files | own | {
        "head.json",
        "head.safetensors",
    }
    for name in files:
        assert sha256_file(work / "frozen" / name) == sha256_file(work / "sft" / name), name
    ids = torch.tensor([[5, 9, 301, 42, 7, 2, 11, 480]])
    with torch.no_grad():
        wanted, found = (load_policy(work / name)[0](input_ids=ids).logits for name in ("sft", "frozen"))
        model = PreferenceModel.from_pretrained(work / "frozen")
        with_head = model.language_model(input_ids=ids).logits
    assert torch.equal(found, wanted)
    # the reader's own attention sums in another order; it leaves the weights alone
    torch.testing.assert_close(with_head, wanted, atol=1e-5, rtol=0)


def test_the_head_is_that_of_the_whole_frozen_model(work: Path, tmp_path: Path) -> None:
    """Run at every step instead, with the same seed: metrics to 1e-5."""
    settings = AlignmentSettings.model_validate(HEAD)
    model = start_alignment(work / "base", work / "sft", settings, 3, "cpu", torch.float32)
    objective = AlignmentObjective(model, read_pairs(work / "preference-mix"), None, settings, 3)
    assert int(objective.flipped.sum()) == 2
    fit(parameter_groups(model, settings), objective, settings.training, place_in(tmp_path, seed=3))
    rows = [read_jsonl(folder / "metrics.jsonl") for folder in (tmp_path, work / "frozen")]
    assert len(rows[0]) == len(rows[1]) == 4
    for wanted, found in zip(*rows, strict=True):
        assert found == pytest.approx(wanted, abs=1e-5)
    trained = load_file(work / "frozen" / "head.safetensors")
    for name, value in model.head.state_dict().items():
        # Adam's first steps are as long for a rounding error as for a gradient, so elements may differ by more.
        assert (trained[name] - value).norm() < 1e-2 * value.norm(), name


def test_the_record_of_the_head(work: Path) -> None:
    facts = read_json(work / "frozen" / "run.json")["facts"]
    head = load_file(work / "frozen" / "head.safetensors")
    assert facts["trainable_parameters"] == sum(value.numel() for value in head.values())
    assert (facts["steps"], facts["pairs"]) == (4, 8)
    table = pd.read_parquet(work / "reference" / "logps.parquet")
    # two epochs of eight pairs in batches of four
    assert facts["tokens"] == 2 * int(table["chosen_tokens"].sum() + table["rejected_tokens"].sum())


def test_rewards_are_those_of_a_full_evaluation_and_log_scores_the_sft_models(
    work: Path, tmp_path: Path
) -> None:
    full = succeed(
        "evaluate_tasks",
        EVALUATION,
        base=work / "base",
        model=work / "frozen",
        datasets=datasets_of(work),
        output=tmp_path / "full",
    )
    for task in ("cola", "stsb"):
        found, wanted, sft = (
            pd.read_parquet(folder / f"{task}.parquet")
            for folder in (work / "frozen-scores", full, work / "sft-scores")
        )
        assert list(found.columns) == list(wanted.columns)
        np.testing.assert_allclose(found["reward"], wanted["reward"], atol=1e-5, rtol=0)
        assert found["reward"].std() > 1e-4 and sft["reward"].isna().all()
        pd.testing.assert_frame_equal(found[OF_THE_MODEL], sft[OF_THE_MODEL], check_exact=True)
        np.testing.assert_allclose(found["log_probability"], wanted["log_probability"], atol=1e-4)
        reports = [read_json(folder / f"{task}.json") for folder in (work / "frozen-scores", full)]
        assert set(reports[0]["metrics"]) == {*LOG_SCORES, "reward"}
        assert (
            reports[0]["metrics"]["log"] == read_json(work / "sft-scores" / f"{task}.json")["metrics"]["log"]
        )
        assert reports[0] == reports[1]


def test_training_and_evaluation_repeat_byte_for_byte(work: Path, tmp_path: Path) -> None:
    paths = {"model": work / "sft", "reference": work / "reference"}
    again, other = (
        succeed("train_heads", HEAD, **paths, output=tmp_path / f"seed-{seed}", seed=seed) for seed in (3, 4)
    )
    for name in ("head.safetensors", "metrics.jsonl"):
        assert sha256_file(again / name) == sha256_file(work / "frozen" / name) != sha256_file(other / name)


def test_steps_that_do_not_fit_are_one_sentence(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = {"model": work / "sft", "reference": work / "reference", "output": tmp_path / "never"}
    aligned = {"base": work / "base", "model": work / "sft", "data": work / "preference-mix"}
    plain = succeed("compute_reference", {}, **aligned, output=tmp_path / "reference")
    scores = succeed(
        "evaluate_tasks",
        EVALUATION,
        base=work / "base",
        datasets=datasets_of(work),
        output=tmp_path / "scores",
    )
    capsys.readouterr()
    for script, settings, changes, sentence in (
        (
            "train_heads",
            HEAD | {"freeze": "lora"},
            {},
            "freeze is lora: set freeze to model, or call train_alignment",
        ),
        ("train_heads", HEAD, {"model": work / "base"}, "of another SFT checkpoint (model "),
        ("train_heads", HEAD, {"reference": plain}, "run compute_reference with states: true"),
        ("train_alignment", HEAD, aligned, "freeze is model: call train_heads for a head alone"),
        ("evaluate_heads", EVALUATION, {"model": work / "frozen", "reference": scores}, "with states: true"),
        ("evaluate_heads", EVALUATION, {"reference": work / "sft-scores"}, "head.json"),
        (
            "evaluate_heads",
            EVALUATION | {"tasks": ["rte"]},
            {"model": work / "frozen", "reference": work / "sft-scores"},
            "rte.parquet does not exist; evaluate the run of that folder on rte first",
        ),
    ):
        fail(script, settings, **paths | changes)
        error = capsys.readouterr().err
        assert sentence in error and "Traceback" not in error, (script, error)

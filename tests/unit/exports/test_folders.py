"""Upload-ready folders: what is in them, what their cards say, and what they never tell."""

import getpass
import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from preftune.errors import PreftuneError
from preftune.exports.folders import Folder, build_folder
from preftune.exports.licences import UNSTATED, terms_of
from preftune.exports.loading import OWN_ARCHITECTURE
from preftune.exports.models import list_models
from preftune.exports.scores import evaluations
from preftune.exports.sources import Sources, registry
from preftune.models.lsw import LswConfig
from preftune.preference.heads import PreferenceModel
from preftune.provenance import store as stores
from preftune.provenance.digest import ROOT
from tests.unit.exports.toy_models import (
    CAPTIONER,
    DPH,
    EMBEDDED,
    FETCHED,
    HUB,
    SFT,
    record_step,
    write_models,
)

SECRET = "hf_" + "s3cr3tT0ken" * 3
IDS = torch.tensor([[1, 5, 7, 300, 2]])


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Records find their files below the test's own folder; a token is in the environment."""
    monkeypatch.setattr(stores, "ROOT", tmp_path)
    monkeypatch.setenv("HF_TOKEN", SECRET)
    return tmp_path


def build(results: Path, model: str) -> Folder:
    """The folder of the model at a path."""
    store = stores.Store.open(results)
    assert not store.faults
    (found,) = [one for one in list_models(store) if one.record.made == model]
    return build_folder(store, Sources(store), found, evaluations(store).get(model, []))


def read_card(folder: Folder) -> dict[str, Any]:
    return dict(ModelCard.load(folder.path / "README.md").data.to_dict())


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IDS).logits


def test_a_whole_model_loads_without_our_code_and_costs_no_disk(tmp_path: Path) -> None:
    folder = build(write_models(tmp_path), SFT)
    assert set(folder.files) == {
        "README.md", "LICENSE", "NOTICE", "run.json", "licences/opt-125m/LICENSE.md", "config.json", "generation_config.json",
        "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    assert folder.path == tmp_path / "results/upload/dph/sft/seed-0"
    ours, theirs = (AutoModelForCausalLM.from_pretrained(path) for path in (tmp_path / SFT, folder.path))
    assert torch.equal(logits(ours), logits(theirs))
    assert AutoTokenizer.from_pretrained(folder.path)("The red cup").input_ids
    assert (folder.path / "model.safetensors").samefile(tmp_path / SFT / "model.safetensors")
    assert (folder.path / "run.json").read_bytes() == (tmp_path / SFT / "run.json").read_bytes()
    assert not (folder.path / "config.json").samefile(tmp_path / SFT / "config.json")


def test_an_adapter_names_the_repository_of_its_base_and_brings_tokenizer_and_head(tmp_path: Path) -> None:
    folder = build(write_models(tmp_path), DPH)
    assert {"adapter_model.safetensors", "head.json", "head.safetensors", "tokenizer.json"} < set(
        folder.files
    )
    assert "config.json" not in folder.files
    assert json.loads((folder.path / "adapter_config.json").read_text())["base_model_name_or_path"] == HUB
    base = AutoModelForCausalLM.from_pretrained(tmp_path / FETCHED)
    before = logits(base)
    adapted = logits(PeftModel.from_pretrained(base, folder.path))
    assert not torch.equal(before, adapted)
    model = PreferenceModel.from_pretrained(folder.path, tmp_path / FETCHED)
    assert torch.equal(logits(model.language_model), adapted)
    talk = [{"role": "user", "content": "the cup"}, {"role": "assistant", "content": "red"}]
    reward = PreferenceModel.from_pretrained(tmp_path / DPH, tmp_path / FETCHED).rewards([talk])
    assert torch.equal(model.rewards([talk]), reward)


def test_a_captioner_has_a_folder_for_each_group_of_adapters_and_its_connector(tmp_path: Path) -> None:
    folder = build(write_models(tmp_path), CAPTIONER)
    base = AutoModelForCausalLM.from_pretrained(tmp_path / FETCHED)
    before = logits(base)
    assert not torch.equal(logits(PeftModel.from_pretrained(base, folder.path, subfolder="text")), before)
    assert load_file(folder.path / "connector.safetensors").keys() == {"weight"}
    card = read_card(folder)
    assert card["pipeline_tag"] == "image-to-text" and card["library_name"] == "preftune"


def test_the_card_is_valid_and_holds_the_scores_of_the_score_files(tmp_path: Path) -> None:
    folder = build(write_models(tmp_path), DPH)
    card = read_card(folder)
    name, results = model_index_to_eval_results(
        ModelCard.load(folder.path / "README.md").data.to_dict()["model-index"]
    )
    assert name == "dph-seed-0"
    (result,) = results
    assert (result.dataset_type, result.dataset_config, result.dataset_split) == (
        "ehovy/race",
        "middle",
        "test",
    )
    assert (result.metric_type, result.metric_name, result.metric_value) == (
        "accuracy",
        "accuracy (log)",
        0.5,
    )
    assert (
        card["base_model"] == [HUB]
        and card["base_model_relation"] == "adapter"
        and card["datasets"] == ["ehovy/race"]
    )
    assert (
        card["pipeline_tag"] == "text-generation"
        and card["library_name"] == "peft"
        and card["language"] == "en"
    )
    text = (folder.path / "README.md").read_text()
    record = json.loads((folder.path / "run.json").read_text())
    assert all(said in text for said in (record["fingerprint"], "arXiv:2405.20053", "Scale: **demo**"))
    assert read_card(build(tmp_path / "results", SFT))["base_model_relation"] == "finetune"


def test_limits_of_licences_are_stated_in_card_licence_and_warning(tmp_path: Path) -> None:
    folder = build(write_models(tmp_path), SFT)
    card, text = read_card(folder), (folder.path / "README.md").read_text()
    assert card["license"] == "other" and card["license_link"] == "LICENSE"
    assert re.fullmatch(r"[a-z0-9.-]+", card["license_name"]) and "opt-175b" in card["license_name"]
    assert len(folder.limits) == 2 and all(
        "NON-COMMERCIAL" in limit and limit in text for limit in folder.limits
    )
    for file, words in (
        ("LICENSE", ("OPT-175B licence", "NON-COMMERCIAL", "MODEL_LICENSE.md")),
        ("NOTICE", (HUB, "ehovy/race")),
    ):
        assert all(word in (folder.path / file).read_text() for word in words)


def test_every_licence_of_the_registries_has_its_terms() -> None:
    worded = {entry["licence"] for name in ("models", "datasets") for entry in registry(name).values()}
    assert set(registry("licences")) == worded
    lines = (ROOT / "config/licences.yaml").read_text().splitlines()
    assert sorted(worded) == sorted(line.removesuffix(":") for line in lines if line[:1] not in "# ")
    assert terms_of("a licence of nobody").limits == (UNSTATED,)
    assert LswConfig.model_type == OWN_ARCHITECTURE


def test_a_model_of_drawn_rows_is_called_demo_scale(tmp_path: Path) -> None:
    folder = build(write_models(tmp_path, raw=EMBEDDED), SFT)
    card = read_card(folder)
    assert folder.demo and "demo-scale" in card["tags"] and "datasets" not in card
    assert card["model-index"][0]["results"][0]["dataset"]["type"] == "embedded/race-middle"
    assert "It is a demo-scale model" in (folder.path / "README.md").read_text()


def test_no_file_tells_who_made_it_where_or_with_which_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "frontal-node-17")
    monkeypatch.setattr(getpass, "getuser", lambda: "wilhelmina")
    told = [str(tmp_path), str(ROOT), f"{Path.home()}/", "frontal-node-17", "wilhelmina", SECRET]
    results = write_models(tmp_path)
    for model in (SFT, DPH, CAPTIONER):
        folder = build(results, model)
        contents = {name: (folder.path / name).read_bytes() for name in folder.files}
        assert [
            (name, word) for name, data in contents.items() for word in told if word.encode() in data
        ] == []


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("head.safetensors", {"made": "/home/someone/checkpoints"}),
        ("adapter_model.safetensors", {"token": SECRET}),
        ("metrics.jsonl", '{"log": "/tmp/run/metrics.jsonl"}'),
        ("head.json", f'{{"key": "{SECRET}"}}'),
        ("config_of_others.json", f'{{"path": "{ROOT}/models"}}'),
        ("notes.txt", "written by wilhelmina@frontal-node-17"),
        ("head.json", '{"key": "correct-horse-battery"}'),
        ("optimizer.pt", "a pickle"),
        ("modeling_own.py", "import os"),
    ],
)
def test_what_would_tell_too_much_or_could_run_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, content: Any
) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "wilhelmina")
    monkeypatch.setenv("SOME_API_KEY", "correct-horse-battery")
    results = write_models(tmp_path)
    path = tmp_path / DPH / file
    if isinstance(content, dict):
        save_file({"weight": torch.ones(1)}, path, content)
    else:
        path.write_text(content)
    record_step(tmp_path, "train_alignment", {"base": [FETCHED], "model": [SFT]}, DPH)
    with pytest.raises(PreftuneError, match=re.escape(file)):
        build(results, DPH)
    assert not (tmp_path / "results/upload/dph/dph/seed-0").exists()


def test_a_record_with_a_path_of_this_machine_is_refused(tmp_path: Path) -> None:
    results = write_models(tmp_path, settings={"images": "/data/pictures"})
    with pytest.raises(PreftuneError, match=r"run.json of .* would tell an absolute path"):
        build(results, SFT)


def test_a_word_of_the_vocabulary_may_be_the_name_of_a_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "table")
    assert "table" in (write_models(tmp_path) / "dph/models/sft/seed-0/tokenizer.json").read_text()
    assert build(tmp_path / "results", SFT).files


def test_weights_that_are_not_those_of_the_record_are_not_taken(tmp_path: Path) -> None:
    results = write_models(tmp_path)
    save_file({"weight": torch.zeros(1)}, tmp_path / SFT / "model.safetensors")
    with pytest.raises(PreftuneError, match=r"model.safetensors is missing or not what its record says"):
        build(results, SFT)


@pytest.mark.parametrize("model", [SFT, DPH])
def test_the_lines_of_the_card_load_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    folder = build(write_models(tmp_path), model)
    places = {"OWNER/NAME": str(folder.path), HUB: str(tmp_path / FETCHED)}
    monkeypatch.setattr("huggingface_hub.snapshot_download", places.__getitem__)
    text = (
        (folder.path / "README.md")
        .read_text()
        .replace(f'from_pretrained("{HUB}")', f'from_pretrained("{tmp_path / FETCHED}")')
    )
    theirs, ours = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(theirs.splitlines()) <= 10 and len(ours.splitlines()) <= 10
    names: dict[str, Any] = {}
    exec(theirs, names)
    expected = logits(names["model"])
    exec(ours, names)
    assert torch.equal(logits(names["model"].language_model), expected)
    assert ("reward" in names) == (model == DPH)

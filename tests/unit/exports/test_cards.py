"""Model cards and data cards of a results folder."""

import importlib
import json
import socket
from pathlib import Path
from typing import Any

import yaml

from preftune.exports.data_cards import CONTEXT, write_data_cards
from preftune.exports.model_cards import write_model_cards
from preftune.exports.values import dump
from preftune.provenance.digest import ROOT
from tests.unit.exports.toy_results import MODEL, open_results, write_results
from tests.unit.exports.validators import needs_validators, validate

MODEL_CARD = "models/dph/sft-seed-0.md"
DATA_CARD = "data/dph/race-middle.json"
EMBEDDED = "resources/data/language/race/middle/train.jsonl.gz"


def model_card(root: Path, **arguments: Any) -> tuple[dict[str, Any], str]:
    """Front matter and text of the one model card."""
    _, front, text = write_model_cards(open_results(root, **arguments))[MODEL_CARD].split("---\n", 2)
    return yaml.safe_load(front), text


def data_card(root: Path, **arguments: Any) -> dict[str, Any]:
    return write_data_cards(open_results(root, **arguments))[DATA_CARD]


def test_a_model_card_says_what_the_record_says(tmp_path: Path) -> None:
    front, text = model_card(tmp_path)
    assert "base_model" not in front  # a wheel is no repository of the hub
    assert front["datasets"] == ["ehovy/race"]
    assert front["library_name"] == "peft" and "arxiv:2405.20053" in front["tags"]
    assert (
        front["license"] == "other" and front["license_name"] == "apache-2.0-and-non-commercial-research-only"
    )
    (result,) = front["model-index"][0]["results"]
    assert result["dataset"] == {"name": "race-middle", "type": "ehovy/race", "config": "middle", "split": "test",
                                 "args": {"n": 4}}  # fmt: skip
    assert result["metrics"] == [{"type": "accuracy", "value": 0.75, "name": "accuracy (log)"}]
    for said in (
        MODEL,
        "c" * 40,
        "| lora.rank | `8` |",
        "| seed | `0` |",
        "| tokens | 12 |",
        "not measured",
        "What it is not for",
    ):
        assert said in text


def test_a_model_without_scores_has_no_results(tmp_path: Path) -> None:
    store = open_results(tmp_path)
    (store.folder / "dph/scores/sft/seed-0/race-middle.json").unlink()
    card = write_model_cards(store)[MODEL_CARD]
    assert "model-index" not in card and "holds no scores of it" in card


def test_rows_that_the_project_drew_are_not_given_the_name_of_a_public_data_set(tmp_path: Path) -> None:
    front, text = model_card(tmp_path / "a", raw=EMBEDDED)
    assert "datasets" not in front and front["license_name"] == "apache-2.0-and-unknown"
    assert front["model-index"][0]["results"][0]["dataset"]["type"] == "embedded/race-middle"
    assert "Embedded data are drawn" in text
    card = data_card(tmp_path / "b", raw=EMBEDDED)
    assert card["name"] == "race-middle-embedded" and card["license"] == "unknown" and "url" not in card


def test_rows_from_outside_are_not_vouched_for(tmp_path: Path) -> None:
    front, _ = model_card(tmp_path / "a", raw="external:train.jsonl.gz")
    assert "datasets" not in front and front["license_name"] == "apache-2.0-and-unknown"
    card = data_card(tmp_path / "b", raw="external:train.jsonl.gz")
    assert card["license"] == "unknown" and "given from outside the checkout" in card["description"]


def test_a_base_model_of_no_registry_has_an_unknown_licence(tmp_path: Path) -> None:
    front, text = model_card(tmp_path, base="no-such-model")
    assert front["license_name"] == "non-commercial-research-only-and-unknown"
    assert "| no-such-model | model | not in the registries | unknown |" in text


def test_a_data_card_has_what_croissant_requires(tmp_path: Path) -> None:
    card = data_card(tmp_path)
    assert (
        card["@context"] == CONTEXT
        and card["@type"] == "sc:Dataset"
        and card["conformsTo"].endswith("/croissant/1.1")
    )
    assert (
        card["license"] == "non-commercial research only"
        and card["url"] == "https://huggingface.co/datasets/ehovy/race"
    )
    (file,) = card["distribution"]
    assert (tmp_path / "results/cards/data/dph" / file["contentUrl"]).resolve().is_file()
    assert len(file["sha256"]) == 64 and file["contentSize"].endswith(" B") and file["encodingFormat"]
    (records,) = card["recordSet"]
    fields = {field["source"]["extract"]["column"]: field for field in records["field"]}
    assert {name: field["dataType"] for name, field in fields.items()} == {
        "question": "sc:Text", "options": "sc:Text", "answer": "sc:Integer"}  # fmt: skip
    assert fields["options"]["isArray"] and fields["options"]["arrayShape"] == "-1"
    assert {field["source"]["fileObject"]["@id"] for field in fields.values()} == {file["@id"]}


def test_rows_that_are_not_here_keep_their_hashes(tmp_path: Path) -> None:
    store = open_results(tmp_path)
    for file in (store.folder / "dph/data").rglob("*.arrow"):
        file.unlink()
    card = write_data_cards(store)[DATA_CARD]
    (file,) = card["distribution"]
    assert "recordSet" not in card and len(file["sha256"]) == 64 and "contentSize" not in file


def export(results: Path) -> dict[str, str]:
    """Run the script; the texts of the cards by path."""
    importlib.import_module("export_cards").main(
        ["--results", str(results), "--output", str(results / "cards")]
    )
    files = [path for path in (results / "cards").rglob("*") if path.is_file() and path.name != "run.json"]
    return {path.relative_to(results / "cards").as_posix(): path.read_text() for path in files}


@needs_validators
def test_the_data_card_passes_mlcroissant(tmp_path: Path) -> None:
    results = write_results(tmp_path)
    export(results)
    found = validate("cards", results / "cards" / DATA_CARD)["race-middle.json"]
    assert found["errors"] == []
    # No registry states a citation, and prepared data have a content hash and no version.
    assert all("citeAs" in warning or "version" in warning for warning in found["warnings"])


def test_the_script_writes_every_card_and_equal_records_give_equal_bytes(tmp_path: Path) -> None:
    first, second = (export(write_results(tmp_path / name)) for name in "ab")
    assert first == second and set(first) == {MODEL_CARD, DATA_CARD}
    assert export(tmp_path / "a/results") == first
    assert export(write_results(tmp_path / "c", seed=1))[MODEL_CARD] != first[MODEL_CARD]
    record = json.loads((tmp_path / "a/results/cards/run.json").read_text())
    assert record["facts"] == {"models": 1, "data": 1}


def test_no_path_and_no_name_of_a_machine_is_told(tmp_path: Path) -> None:
    store = open_results(tmp_path, settings={"images": str(tmp_path / "pictures"), "all": [str(tmp_path)]})
    text = "".join([*write_model_cards(store).values(), *map(dump, write_data_cards(store).values())])
    told = [
        str(tmp_path),
        str(ROOT),
        str(Path.home()),
        *([socket.gethostname()] if len(socket.gethostname()) > 4 else []),
    ]
    assert [word for word in told if word in text] == [] and "external:pictures" in text

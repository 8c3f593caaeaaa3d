"""The RO-Crate of a results folder."""

import importlib
import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from preftune.errors import PreftuneError
from preftune.exports.crate import build_crate, copy_workflow
from preftune.exports.values import dump
from preftune.provenance.digest import ROOT
from preftune.provenance.store import Store
from tests.unit.exports.toy_results import MODEL, open_results, read_graph, write_results
from tests.unit.exports.validators import needs_validators, validate

NO_PUBLIC_PLACE = {
    "process-run-crate-0.5_3.2: The Application SHOULD have a url",
    "process-run-crate-0.5_5.1: The SoftwareApplication id SHOULD be an absolute URI",
    "ro-crate-1.1_31.2: The organization SHOULD have a URL.",
    "workflow-ro-crate-1.0_6.1: The README.md SHOULD be about the crate",
    "workflow-ro-crate-1.0_6.2: The README.md SHOULD have text/markdown as its encodingFormat",
}
"""Recommendations that are not followed: the code has no public address, and a results folder no README."""


def build(root: Path, **arguments: Any) -> dict[str, Any]:
    store = open_results(root, **arguments)
    copy_workflow(store.folder / "code")
    return build_crate(store, store.folder / "code")


def export(results: Path) -> str:
    """Run the script; the text of the crate."""
    output = results / "ro-crate-metadata.json"
    words = ["--results", str(results), "--output", str(output), "--code", str(results / "code")]
    importlib.import_module("export_crate").main(words)
    return output.read_text()


@needs_validators
def test_the_crate_satisfies_its_profiles(tmp_path: Path) -> None:
    results = write_results(tmp_path)
    export(results)
    issues = validate("crate", results)
    assert issues["REQUIRED"] == []
    assert set(issues["RECOMMENDED"]) <= NO_PUBLIC_PLACE


@needs_validators
def test_the_validator_sees_a_file_that_is_not_there(tmp_path: Path) -> None:
    results = write_results(tmp_path)
    export(results)
    (results / "dph/tables/race.csv").unlink()
    assert any("race.csv" in issue for issue in validate("crate", results)["REQUIRED"])


def test_every_reference_is_described_and_every_data_entity_is_there(tmp_path: Path) -> None:
    graph = read_graph(build(tmp_path))
    texts = [value for entity in graph.values() for value in entity.values()]
    links = [
        item["@id"]
        for value in texts
        for item in (value if isinstance(value, list) else [value])
        if isinstance(item, dict)
    ]
    known = (
        "https://w3id.org/ro/crate/",
        "https://bioschemas.org/",
        "https://doi.org/",
        "https://snakemake.",
    )
    assert [link for link in links if link not in graph and not link.startswith(known)] == []
    for name, entity in graph.items():
        if {"File", "Dataset"} & set(
            [entity["@type"]] if isinstance(entity["@type"], str) else entity["@type"]
        ):
            assert (tmp_path / "results" / unquote(name)).exists(), name


def test_actions_say_what_was_read_and_written_with_which_settings(tmp_path: Path) -> None:
    graph = read_graph(build(tmp_path, base="no-fetched-model"))  # whatever this checkout has fetched
    action = graph[f"#action/{MODEL}"]
    read = [item["@id"] for item in action["object"]]
    assert "dph/data/race-middle/" in read
    assert any(name.startswith("#file/resources/models/no-fetched-model@") for name in read)
    values = {graph[name]["name"]: graph[name]["value"] for name in read if name.startswith("#value/")}
    assert values == {"freeze": "null", "lora.rank": 8, "seed": 0, "tied": True, "training.betas": "[0.9, 0.95]",
                      "training.steps": 3}  # fmt: skip
    assert action["result"] == {"@id": "dph/models/sft/seed-0/"}
    assert action["endTime"] == "2026-01-01T00:01:00+00:00" and action["actionStatus"].endswith(
        "CompletedActionStatus"
    )
    tool = graph[action["instrument"]["@id"]]
    assert (
        tool["identifier"] == f"swh:1:cnt:{'b' * 40}"
        and graph["#step/train_sft"]["workExample"]["@id"] == tool["@id"]
    )
    file = graph["dph/models/sft/seed-0/adapter_config.json"]
    assert len(file["sha256"]) == 64 and file["contentSize"] == "2"
    assert graph["./"]["datePublished"] == "2026-01-01T00:01:00+00:00"


def test_a_step_with_two_outputs_ran_once(tmp_path: Path) -> None:
    graph = read_graph(build(tmp_path))
    actions = [entity for entity in graph.values() if entity["@type"] == "CreateAction"]
    assert sum("tabulate_scores" in action["name"] for action in actions) == 1
    assert {item["@id"] for item in graph["#run"]["result"]} == {
        "dph/tables/race.csv",
        "dph/tables/race.audit.json",
    }


def test_what_is_not_in_the_folder_is_a_work_with_its_licence(tmp_path: Path) -> None:
    graph = read_graph(build(tmp_path))
    (base,) = [entity for name, entity in graph.items() if name.startswith("#file/resources/models/")]
    assert base["@type"] == "CreativeWork" and base["license"] == {"@id": "#licence/Apache-2.0"}
    assert graph["dph/data/race-middle/"]["license"] == {"@id": "#licence/non-commercial-research-only"}


def test_weights_that_were_not_published_are_named_with_their_record(tmp_path: Path) -> None:
    results = write_results(tmp_path)
    (results / "dph/models/sft/seed-0/adapter_config.json").unlink()
    copy_workflow(results / "code")
    folder = read_graph(build_crate(Store.open(results), results / "code"))["dph/models/sft/seed-0/"]
    assert folder["description"].startswith("0 of 1 files are here") and folder["identifier"].startswith(
        "sha256_tree:"
    )


def test_a_licence_that_no_registry_states_is_unknown(tmp_path: Path) -> None:
    graph = read_graph(build(tmp_path / "a", base="no-such-model"))
    (base,) = [entity for name, entity in graph.items() if name.startswith("#file/resources/models/")]
    assert graph[base["license"]["@id"]]["name"] == "unknown"
    graph = read_graph(build(tmp_path / "b", raw="resources/data/language/race/middle/train.jsonl.gz"))
    assert graph["dph/data/race-middle/"]["license"] == {"@id": "#licence/unknown"}


def test_equal_records_give_equal_bytes_and_other_records_others(tmp_path: Path) -> None:
    first, second, other = (
        dump(build(tmp_path / name, **changes))
        for name, changes in (("a", {}), ("b", {}), ("c", {"seed": 1}))
    )
    assert first == second != other


def test_a_second_export_does_not_show_the_first(tmp_path: Path) -> None:
    results = write_results(tmp_path)
    assert export(results) == export(results)


def test_no_path_and_no_name_of_a_machine_is_told(tmp_path: Path) -> None:
    text = dump(build(tmp_path, settings={"images": str(tmp_path / "pictures"), "all": [str(tmp_path)]}))
    told = [
        str(tmp_path),
        str(ROOT),
        str(Path.home()),
        *([socket.gethostname()] if len(socket.gethostname()) > 4 else []),
    ]
    assert [word for word in told if word in text] == [] and "external:pictures" in text


def test_a_folder_without_records_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    copy_workflow(tmp_path / "code")
    with pytest.raises(PreftuneError, match="no record of a step: run `make results` first"):
        build_crate(Store.open(tmp_path / "results"), tmp_path / "code")


def test_the_crate_must_lie_at_its_root(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = write_results(tmp_path)
    words = [
        "--results",
        str(results),
        "--output",
        str(tmp_path / "crate.json"),
        "--code",
        str(results / "code"),
    ]
    with pytest.raises(SystemExit):
        importlib.import_module("export_crate").main(words)
    assert "ro-crate-metadata.json" in capsys.readouterr().err
    assert json.loads((tmp_path / ".crate.json.attempts.json").read_text())

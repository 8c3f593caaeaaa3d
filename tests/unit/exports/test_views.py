"""What cards and crates are read from: columns of tables, scores of models, sources of data."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from preftune.errors import PreftuneError
from preftune.exports.data_cards import write_data_cards
from preftune.exports.scores import evaluations, read_scores
from preftune.exports.sources import Sources
from preftune.exports.values import refuse_private, setting_pairs
from preftune.files import write_json
from preftune.provenance.store import Store
from tests.unit.exports.toy_results import write_record, write_rows
from tests.unit.exports.validators import needs_validators, validate

CAPTIONS = "results/context_peft/data/captions"
MODEL = "results/context_peft/models/none/seed-0"
TOLD = "results/context_peft/captions/none/seed-0.jsonl"
SCORES = "results/context_peft/scores/none/seed-0"


def write_captioner(root: Path) -> Store:
    """Prepared captions, a model, its captions and their scores, and its answers to questions."""
    (root / CAPTIONS).mkdir(parents=True)
    box = pa.struct([("x", pa.int64()), ("y", pa.float32())])
    table = pa.table({"image": ["a"], "box": pa.array([{"x": 1, "y": 2.0}], box), "ids": [[[1], [2, 3]]]})
    pq.write_table(table, root / CAPTIONS / "images.parquet")
    write_record(root, "prepare_captions", {"raw": ["resources/data/scenes"]}, {"output": CAPTIONS})
    (root / MODEL).mkdir(parents=True)
    (root / MODEL / "adapter.json").write_text("{}")
    write_record(root, "train_captioner", {"captions": [CAPTIONS]}, {"output": MODEL})
    (root / TOLD).parent.mkdir(parents=True)
    (root / TOLD).write_text("{}\n")
    perplexity = {"perplexity": 3.5, "perplexity_blank": 4.0, "n_captions": 8, "split": "test"}
    write_json(root / SCORES / "perplexity.json", perplexity)
    outputs = {"output": f"{SCORES}/perplexity.json", "generated": TOLD}
    write_record(root, "evaluate_captioner", {"model": [MODEL], "captions": [CAPTIONS]}, outputs)
    write_json(root / SCORES / "captions.json", {"metrics": {"CIDEr": 0.5}, "n": 4})
    write_record(root, "evaluate_captions", {"captions": [TOLD]}, {"output": f"{SCORES}/captions.json"})
    answers: dict[str, Any] = {"text": {"model": {"n": 2, "score": 0.5}, "majority": {"n": 2, "score": 1.0}}}
    write_json(root / "results/context_peft/multitask/none/seed-0/answers.json", {**answers, "metric": "vqa"})
    folder = "results/context_peft/multitask/none/seed-0"
    write_record(root, "evaluate_multitask", {"model": [MODEL]}, {"output": folder})
    return Store.open(root / "results")


def test_scores_are_those_of_the_model_and_of_the_captions_it_wrote(tmp_path: Path) -> None:
    store = write_captioner(tmp_path)
    scores = read_scores(store, evaluations(store)[MODEL])
    assert {(score.task, score.metric, score.value, score.n) for score in scores} == {
        ("perplexity", "perplexity", 3.5, 8),
        ("captions", "CIDEr", 0.5, 4),
        ("text questions", "vqa", 0.5, 2),
    }


def test_columns_of_nested_types_are_described(tmp_path: Path) -> None:
    card = write_data_cards(write_captioner(tmp_path))["data/context_peft/captions.json"]
    (records,) = card["recordSet"]
    image, box, ids = records["field"]
    assert image["dataType"] == "sc:Text" and "dataType" not in box
    assert [part["dataType"] for part in box["subField"]] == ["sc:Integer", "sc:Float"]
    assert ids["isArray"] and ids["arrayShape"] == "-1,-1" and ids["dataType"] == "sc:Integer"


def write_shards(root: Path) -> Store:
    for number in range(2):
        write_rows(root / f"results/dph/data/boolq/train/data-0000{number}-of-00002.arrow")
    write_record(root, "prepare_dataset", {"files": []}, {"output": "results/dph/data/boolq"})
    return Store.open(root / "results")


def test_a_table_of_several_files_is_one_record_set(tmp_path: Path) -> None:
    card = write_data_cards(write_shards(tmp_path))["data/dph/boolq.json"]
    (records,) = card["recordSet"]
    (shards,) = [item for item in card["distribution"] if item["@type"] == "cr:FileSet"]
    assert len(shards["includes"]) == 2 and "shards" not in records
    assert records["field"][0]["source"]["fileSet"] == {"@id": shards["@id"]}


@needs_validators
def test_cards_of_nested_columns_and_of_shards_pass_mlcroissant(tmp_path: Path) -> None:
    cards = write_data_cards(write_captioner(tmp_path / "a")) | write_data_cards(write_shards(tmp_path / "b"))
    for path, card in cards.items():
        write_json(tmp_path / "cards" / path, card)
    found = validate("cards", *(tmp_path / "cards" / path for path in cards))
    assert [card["errors"] for card in found.values()] == [[], []]


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    store = write_captioner(tmp_path)
    (tmp_path / CAPTIONS / "images.parquet").write_bytes(b"no table")
    with pytest.raises(PreftuneError, match=r"images.parquet is no readable table"):
        write_data_cards(store)


def test_data_that_a_rule_drew_are_its_own_source(tmp_path: Path) -> None:
    store = write_captioner(tmp_path)
    record = store.maker(MODEL)
    assert record is not None
    (source,) = Sources(store).of(record)
    assert (source.name, source.kind, source.licence) == ("generate_scenes", "embedded", "unknown")


def test_settings_become_flat_values_without_absolute_paths() -> None:
    settings = {"a": {"b": 1, "c": None}, "d": ["/x/y", 2], "e": {}, "f": True}
    found = dict(setting_pairs(settings))
    assert found == {"a.b": 1, "a.c": "null", "d": json.dumps(["external:y", 2]), "e": "{}", "f": True}


def test_a_text_that_tells_a_home_is_refused() -> None:
    with pytest.raises(PreftuneError, match="the crate would hold an absolute path of a user"):
        refuse_private("/home/somebody/x", "the crate")

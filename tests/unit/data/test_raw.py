"""Raw rows: what is accepted, what is refused and in which words."""

import dataclasses
import gzip
import os
import tempfile
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import yaml
from datasets import load_from_disk

from preftune.data import raw
from preftune.data.layouts import find_files
from preftune.data.row_files import SplitFiles
from preftune.data.schemas import SCHEMAS
from preftune.data.tasks.registry import TASKS_FILE, read_tasks
from preftune.data.texts import fold_text
from preftune.errors import PreftuneError
from tests.rows import write_rows

ROOT = Path(__file__).resolve().parents[3]
REAL = Path(os.environ.get("PREFTUNE_REAL_DATA", ROOT / "../shared/data"))
ROWS = [{"sentence": f"Sentence {i}.", "label": i % 2, "idx": i} for i in range(12)]
COLA = raw.find_source("glue-cola")


def read(source, split, *paths):
    """The checked rows of files."""
    return list(raw.read_split(source, split, SplitFiles(paths)))


def prepare(source, files, limit_train, limit_evaluation, seed, official):
    """Prepare a data set in memory; also what was dropped."""
    with tempfile.TemporaryDirectory() as folder:
        done = raw.prepare(source, files, Path(folder), limit_train, limit_evaluation, seed, official)
        return load_from_disk(folder, keep_in_memory=True), done.dropped


def test_a_data_set_is_shuffled_and_cut_and_remembers_its_rows(tmp_path):
    for split in ("train", "validation"):
        write_rows(tmp_path / f"glue/cola/{split}.jsonl.gz", ROWS)
    files = find_files(COLA, tmp_path)
    prepared, dropped = prepare(COLA, files, 5, None, seed=1, official=False)
    assert {split: len(rows) for split, rows in prepared.items()} == {"train": 5, "validation": 12}
    assert not dropped
    assert prepared["train"].features == COLA.schema.features
    for row in prepared["train"]:
        assert row["document"] == f"train-{row['idx']}"
    again, _ = prepare(COLA, files, 5, None, seed=1, official=False)
    other, _ = prepare(COLA, files, 5, None, seed=2, official=False)
    assert again["train"]["document"] == prepared["train"]["document"] != other["train"]["document"]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_other_formats_are_found(tmp_path, suffix):
    path = tmp_path / f"glue/cola/train{suffix}"
    if suffix == ".jsonl":
        write_rows(path, ROWS)
    else:
        path.parent.mkdir(parents=True)
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    assert (
        list(raw.read_split(COLA, "train", find_files(COLA, tmp_path)["train"]))[3]["sentence"]
        == "Sentence 3."
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": None}, "row 3 has no label"),
        ({"label": -1}, "row 3 has no label"),
        ({"label": 2}, r"row 3 has the label 2, outside its range \(0, 1\)"),
        ({"idx": 0}, "row 3 has the same idx 0 as row 1"),
        ({"sentence": 7}, "column sentence holds int 7"),
    ],
)
def test_a_bad_row_is_named(tmp_path, change, message):
    rows = [row | (change if place == 2 else {}) for place, row in enumerate(ROWS)]
    path = write_rows(tmp_path / "train.jsonl.gz", rows)
    with pytest.raises(PreftuneError, match=message) as error:
        read(COLA, "train", path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("column", "message"), [("label", "has no label"), ("sentence", "no column 'sentence'")]
)
def test_a_missing_column_is_named(tmp_path, column, message):
    path = write_rows(tmp_path / "train.jsonl", [{k: v for k, v in ROWS[0].items() if k != column}])
    with pytest.raises(PreftuneError, match=message):
        read(COLA, "train", path)


def test_an_unlabelled_test_split_is_accepted(tmp_path):
    path = write_rows(tmp_path / "test.jsonl", [row | {"label": -1} for row in ROWS])
    assert len(read(COLA, "test", path)) == len(ROWS)
    path = write_rows(tmp_path / "bare.jsonl", [{"sentence": "x", "idx": 0}])
    assert read(COLA, "test", path)[0]["label"] is None


@pytest.mark.parametrize(
    ("name", "split", "row"),
    [
        ("glue-cola", "test", {"sentence": "S", "label": -1}),
        ("glue-stsb", "test", {"sentence1": "A", "sentence2": "B", "label": -1.0}),
        ("glue-mnli", "test_mismatched", {"premise": "P", "hypothesis": "H", "label": -1}),
        ("glue-ax", "test", {"premise": "P", "hypothesis": "H", "label": -1}),
    ],
)
@pytest.mark.parametrize("order", [[1, 0, 2], [0, 2], [1, 2, 3]])
def test_a_hidden_test_split_that_is_not_in_its_published_order_is_refused(tmp_path, name, split, row, order):
    """The server counts rows; of labelled splits any part in any order will do."""
    source = raw.find_source(name)
    rows = [row | {"idx": idx} for idx in order]
    place = next(place for place, idx in enumerate(order) if idx != place)
    write_rows(tmp_path / source.files[split], rows)
    files = find_files(source, tmp_path)
    message = f"row {place + 1} has the idx {order[place]} where {place} is expected: give the whole split"
    with pytest.raises(PreftuneError, match=message) as error:
        prepare(source, files, None, 2, 0, official=False)
    assert str(files[split].paths[0]) in str(error.value)
    write_rows(files[split].paths[0], sorted(rows, key=lambda one: one["idx"]))
    if sorted(order) == [0, 1, 2]:
        prepare(source, files, None, 2, 0, official=False)
    labelled = [one | {"label": 1} for one in rows]
    path = write_rows(tmp_path / "train.jsonl", labelled)
    assert [one["idx"] for one in read(source, "train", path)] == order


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty|truncated"),
        (gzip.compress(b""), "is empty"),
        (gzip.compress(b'{"sentence": "x", "label": 1, "idx": 0}\n' * 500)[:40], "truncated"),
        (gzip.compress(b'{"sentence": "x", "la'), "row 1 is not valid JSON"),
        (gzip.compress('{"sentence": "é"}\n'.encode("latin-1")), "row 1 is not UTF-8"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, data, message):
    path = tmp_path / "train.jsonl.gz"
    path.write_bytes(data)
    with pytest.raises(PreftuneError, match=message):
        read(COLA, "train", path)


def test_a_damaged_parquet_file_is_named(tmp_path):
    path = tmp_path / "train.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(PreftuneError, match="not a parquet file"):
        read(COLA, "train", path)


def test_no_file_and_an_unknown_data_set_are_errors(tmp_path):
    with pytest.raises(PreftuneError, match="no file of the data set glue-cola"):
        find_files(COLA, tmp_path)
    with pytest.raises(PreftuneError, match="did you mean 'glue-cola'"):
        raw.find_source("glue-kola")


def test_held_out_training_rows_of_mnli_are_a_split_of_their_own(tmp_path):
    """Neither official nor expected: a folder without that file has the hub's splits alone."""
    source = raw.find_source("glue-mnli")
    row = {"premise": "P", "hypothesis": "H", "label": 0, "idx": 0}
    for split in ("train", "validation_matched"):
        write_rows(tmp_path / f"glue/mnli/{split}.jsonl.gz", [row])
    assert set(find_files(source, tmp_path)) == {"train", "validation_matched"}
    write_rows(tmp_path / "glue/mnli/validation.jsonl.gz", [row])
    files = find_files(source, tmp_path)
    prepared, _ = prepare(source, files, None, None, 0, official=False)
    task = read_tasks()["mnli-validation"]
    assert len(task.questions(prepared[task.split])) == 1
    entry = yaml.safe_load(raw.DATASETS_FILE.read_text())["glue-mnli"]
    assert "validation" not in entry["counts"] | entry["sources"]["hub"]["splits"]


def test_official_counts_are_checked_for_hub_data_only(tmp_path):
    files = {"train": SplitFiles((write_rows(tmp_path / "train.jsonl", ROWS),))}
    with pytest.raises(PreftuneError, match="12 rows where 8551 are expected"):
        prepare(COLA, files, None, None, 0, official=True)
    prepare(COLA, files, None, None, 0, official=False)


PAIRS = [
    {"prompt": f"Question {i // 2}{'?' * (i % 2)}", "chosen": f"a{i}", "rejected": "a0" if i < 20 else "b"}
    for i in range(400)
]


def test_a_split_without_a_file_is_held_out_by_prompt(tmp_path):
    """Rows of one prompt, but for punctuation, stay together; the count check sees the rows before the cut."""
    source = raw.find_source("ultrafeedback")
    source = dataclasses.replace(source, counts={"train": 400})
    files = {"train": SplitFiles((write_rows(tmp_path / "train.jsonl", PAIRS),))}
    prepared, _ = prepare(source, files, None, None, 0, official=True)
    train, validation = prepared["train"], prepared["validation"]
    assert 20 <= len(validation) <= 60  # a tenth of 200 prompts, two rows each, within three standard errors
    assert len(set(train["document"]) | set(validation["document"])) == len(train) + len(validation) == 400
    assert not {fold_text(text) for text in train["prompt"]} & {
        fold_text(text) for text in validation["prompt"]
    }
    again, _ = prepare(source, files, None, None, 0, official=True)
    other, _ = prepare(source, files, None, None, 1, official=True)
    assert again["validation"]["document"] == validation["document"]
    assert set(other["validation"]["document"]) != set(validation["document"])


def test_a_split_with_a_file_is_not_held_out(tmp_path):
    source = raw.find_source("ultrafeedback")
    files = {
        split: SplitFiles((write_rows(tmp_path / f"{split}.jsonl", PAIRS),))
        for split in ("train", "validation")
    }
    prepared, _ = prepare(source, files, None, None, 0, official=False)
    assert {split: len(rows) for split, rows in prepared.items()} == {"train": 400, "validation": 399}


def test_pairs_of_equal_answers_are_dropped_from_the_scored_split_and_counted(tmp_path):
    """The first row's answers are both a0; the training split keeps it, since the mixes count what they drop."""
    source = raw.find_source("orca-dpo-pairs")
    rows = [{"system": "", "question": row["prompt"]} | row for row in PAIRS]
    files = {
        split: SplitFiles((write_rows(tmp_path / f"{split}.jsonl", rows),))
        for split in ("train", "validation")
    }
    prepared, dropped = prepare(source, files, None, None, 0, official=False)
    assert dropped == {"validation": 1}
    assert "validation-0" not in prepared["validation"]["document"]
    assert "train-0" in prepared["train"]["document"]


def test_premises_with_an_entailed_and_a_contradicted_hypothesis_become_questions(tmp_path):
    """The first hypothesis of each label counts; a premise without both asks nothing."""
    labels = [("P", 1), ("P", 2), ("Q", 0), ("P", 0), ("P", 2), ("R", 2), ("R", 0)]
    rows = [
        {"premise": premise, "hypothesis": f"{premise}{i}", "label": label, "idx": i}
        for i, (premise, label) in enumerate(labels)
    ]
    source = dataclasses.replace(raw.find_source("passage-contradiction"), counts={"validation": len(rows)})
    files = {"validation": SplitFiles((write_rows(tmp_path / "validation.jsonl", rows),))}
    prepared, _ = prepare(source, files, None, None, 0, official=True)
    found = sorted(prepared["validation"].to_list(), key=lambda row: row["passage"])
    assert found == [
        {"document": "validation-3", "passage": "P", "supported": "P3", "contradicted": "P1"},
        {"document": "validation-6", "passage": "R", "supported": "R6", "contradicted": "R5"},
    ]
    write_rows(tmp_path / "validation.jsonl", rows[:1])
    with pytest.raises(PreftuneError, match="passage-contradiction has no usable row"):
        prepare(source, files, None, None, 0, official=False)


def test_other_encodings_of_the_same_rows(tmp_path):
    boolq = raw.find_source("boolq")
    path = write_rows(tmp_path / "b.jsonl", [{"passage": "P", "question": "q", "answer": True}])
    assert read(boolq, "train", path)[0]["label"] == 1
    feedback = raw.find_source("ultrafeedback")
    path = write_rows(tmp_path / "u.jsonl", [{"prompt": "Q", "chosen": talk("good"), "rejected": "bad"}])
    assert read(feedback, "train", path)[0] == {
        "document": "train-0",
        "prompt": "Q",
        "chosen": "good",
        "rejected": "bad",
        "opening": [],
    }


def talk(answer, prompt="Q", role="assistant", earlier=()):
    return [*earlier, {"role": "user", "content": prompt}, {"role": role, "content": answer}]


EARLIER = [{"role": "system", "content": "Be brief."}, *talk("A0", "Q0")]


@pytest.mark.parametrize(
    ("name", "row"),
    [
        (
            "ultrafeedback",
            {"prompt": "Q\n", "chosen": talk("a", earlier=EARLIER), "rejected": talk("b", earlier=EARLIER)},
        ),
        (
            "ultrafeedback",
            {"prompt": [*EARLIER, {"role": "user", "content": "Q\n"}], "chosen": "a", "rejected": "b"},
        ),
        (
            "orca-dpo-pairs",
            {"system": EARLIER[0]["content"], "question": "Q\n", "chosen": "a", "rejected": "b"},
        ),
    ],
)
def test_what_stands_before_the_prompt_of_a_pair_is_asked_too(tmp_path, name, row):
    source = raw.find_source(name)
    files = {
        split: SplitFiles((write_rows(tmp_path / f"{split}.jsonl", [row]),))
        for split in ("train", "validation")
    }
    prepared, _ = prepare(source, files, None, None, 0, official=False)
    question = read_tasks()[name].question(prepared["validation"][0], 0)
    opening = EARLIER if name == "ultrafeedback" else EARLIER[:1]
    assert question.messages == [*opening, {"role": "user", "content": "Q\n"}]
    assert question.candidates[question.gold] == "a"


def test_an_empty_system_message_is_none(tmp_path):
    orca = raw.find_source("orca-dpo-pairs")
    path = write_rows(tmp_path / "o.jsonl", [{"system": "", "question": "Q", "chosen": "a", "rejected": "b"}])
    (row,) = read(orca, "train", path)
    assert [m["role"] for m in read_tasks()["orca-dpo-pairs"].question(row, 0).messages] == ["user"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rejected": talk("b", "R")}, "no shared prompt: its conversations open with different messages"),
        (
            {"rejected": talk("b", earlier=EARLIER)},
            "no shared prompt: its conversations open with different messages",
        ),
        ({"prompt": "R"}, "no shared prompt: its answers do not open with the column prompt"),
        ({"chosen": talk("a")[1:], "rejected": talk("b")[1:]}, "the conversation has no message"),
        ({"prompt": talk("a", "R")[:1]}, "its conversations open with different messages"),
        ({"chosen": talk("a", "R"), "rejected": "b"}, "do not open with the column prompt"),
        (
            {"rejected": talk("b", role="user")},
            "an answer is of the role user, not of the assistant",
        ),
        ({"rejected": []}, "the conversation has no message"),
    ],
)
def test_a_pair_without_a_shared_prompt_is_named(tmp_path, change, message):
    good = {"prompt": "Q", "chosen": talk("a"), "rejected": talk("b")}
    path = write_rows(tmp_path / "train.jsonl", [good, good | change])
    with pytest.raises(PreftuneError, match=f"row 2: .*{message}"):
        read(raw.find_source("ultrafeedback"), "train", path)
    path = write_rows(tmp_path / "good.jsonl", [good, good])
    assert len(read(raw.find_source("ultrafeedback"), "train", path)) == 2


REGISTRY = yaml.safe_load(raw.DATASETS_FILE.read_text())
OTHERS = {"coco", "vqav2", "gqa", "text"}
"""Schemas of pictures and of plain documents, which have readers of their own."""


def test_the_registry_names_known_schemas_and_every_task_has_its_split():
    assert {entry["schema"] for entry in REGISTRY.values()} == set(SCHEMAS) | OTHERS
    for task in read_tasks().values():
        entry = REGISTRY[task.dataset]
        assert task.split in entry["sources"]["files"] | entry.get("held_out", {}), task.name
        assert "train" in entry["sources"]["files"] or not task.mixes
    for row in yaml.safe_load(TASKS_FILE.read_text()).values():
        assert row.get("derived_from", row["dataset"]) in REGISTRY


@pytest.mark.parametrize(
    "name", sorted(name for name, entry in REGISTRY.items() if entry["schema"] in SCHEMAS)
)
def test_real_rows(name):
    if not REAL.is_dir():
        pytest.skip(f"{REAL} is missing: set PREFTUNE_REAL_DATA to a folder of real rows")
    source = raw.find_source(name)
    try:
        files = find_files(source, REAL)
    except PreftuneError as missing:
        assert "no file of the data set" in str(missing)
        pytest.skip(str(missing))
    tasks = [task for task in read_tasks().values() if task.dataset == name]
    for split, rows in prepare(source, files, 20, 20, 0, official=False)[0].items():
        assert 0 < len(rows) <= 20, split
        for task in tasks:
            if task.metrics and split in source.unlabelled:
                continue
            for index, row in enumerate(rows):
                assert len(task.question(row, index).candidates) > 1

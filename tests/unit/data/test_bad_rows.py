"""Faults of raw files, each refused by name before anything is trained on them, and repeated rows, which are counted."""

import gzip
import json
import os
import re
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from datasets import load_from_disk

from preftune.data.layouts import find_files
from preftune.data.raw import find_source, prepare, read_split
from preftune.data.repeats import Repeats, describe_repeats
from preftune.data.row_files import SplitFiles
from preftune.data.texts import fold_text
from preftune.errors import PreftuneError
from tests.rows import prepare_splits, write_rows
from tests.scripts.steps import fail, succeed

REAL = Path(os.environ.get("PREFTUNE_REAL_DATA", Path(__file__).resolve().parents[3] / "../shared/data"))
ARC = [
    {"id": f"q{i}", "question": f"Which is {i}?", "choices": {"text": list("wxyz"), "label": list("ABCD")},
     "answerKey": "ABCD"[i % 4]}
    for i in range(8)
]  # fmt: skip
LIMITS = {"limit_train": None, "limit_evaluation": None}
NESTED = pyarrow.list_(pyarrow.struct({"text": pyarrow.string(), "label": pyarrow.string()}))


def arrow(rows, **changes):
    """A table with columns of other values."""
    table = pyarrow.Table.from_pylist(rows)
    for column, values in changes.items():
        table = table.set_column(table.column_names.index(column), column, [values])
    return table


def not_utf8(count):
    """A text column whose bytes are Latin-1, as a broken writer leaves them."""
    return pyarrow.array(["é".encode("latin-1")] * count, pyarrow.binary()).view(pyarrow.string())


PARQUET = {
    "a renamed column": (arrow(ARC).rename_columns(["id", "query", "choices", "answerKey"]),
                         r"row 1 has no column 'question' \(it has id, query, choices, answerKey\): give the file the hub's"),
    "a new label": (arrow(ARC, answerKey=pyarrow.array([*"ABCDABC", "E"])),
                    r"row 8 has the label 'E', outside its range \(A, B, C, D\): correct the row"),
    "a null label": (arrow(ARC, answerKey=pyarrow.array([*"ABCDABC", None])), "row 8 has no label .column answerKey.: use"),
    "no option": (arrow(ARC, choices=pyarrow.array([{"text": [], "label": []}] * 8, pyarrow.struct(
        {"text": pyarrow.list_(pyarrow.string()), "label": pyarrow.list_(pyarrow.string())}))),
        r"row 1 has the label 'A', outside its range \(no option\): correct the row"),
    "two columns of a name": (arrow(ARC).append_column("id", pyarrow.array([*"abcdefgh"])), "has two columns of one name .id, q"),
    "a null text": (arrow(ARC, question=pyarrow.array([*"abcdefg", None])), "row 8: column question holds NoneType None and not"),
    "a number": (arrow(ARC, question=pyarrow.array(range(8))), "row 1: column question holds int 0 and not string: correct"),
    "a list of pairs": (arrow(ARC, choices=pyarrow.array([[{"text": "w", "label": "A"}]] * 8, NESTED)),
                        "row 1: column choices holds list .* and not an object of text, label: correct"),
    "a text for a list": (arrow(ARC, choices=pyarrow.array([{"text": "wxyz", "label": "ABCD"}] * 8)),
                          r"row 1: column choices\.text holds str 'wxyz' and not a list: correct"),
    "a repeated id": (arrow(ARC, id=pyarrow.array([*"abcdefga"])), "row 8 has the same id 'a' as row 1: take one"),
    "bytes": (arrow(ARC, question=pyarrow.array([b"x"] * 8)), "row 1: column question holds bytes b'x' and not string"),
    "another encoding": (arrow(ARC, question=not_utf8(8)), "the column question holds text that is not UTF-8: convert"),
}  # fmt: skip


@pytest.mark.parametrize("fault", PARQUET)
def test_a_changed_table_is_named_by_file_row_and_column(tmp_path, fault):
    table, message = PARQUET[fault]
    path = tmp_path / "arc_easy/train.parquet"
    path.parent.mkdir()
    pyarrow.parquet.write_table(table, path)
    with pytest.raises(PreftuneError, match=message) as error:
        prepare_splits("arc-easy", tmp_path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"sentence": "\\ud800", "label": 1, "idx": 2}', "row 3: column sentence holds half of a surrogate pair"),
        (b'{"sentence": "x", "label": 1, "idx": 99999999999999999999}', "row 3: column idx holds int 9999.* and not int64"),
        (b'{"sentence": "x", "label": true, "idx": 2}', "row 3: column label holds bool True and not int64"),
        (b'{"sentence": "x", "label": 1.0, "idx": 2}', "row 3: column label holds float 1.0 and not int64"),
        ('{"sentence": "é", "label": 1, "idx": 2}'.encode("latin-1"), "row 3 is not UTF-8 text: convert the file"),
        (b"[1]", "row 3 is not a JSON object"),
        (b'{"idx": ' + b"9" * 5000 + b"}", "row 3 is not valid JSON .Exceeds the limit"),
        (b"[" * 100_000, "row 3 is not valid JSON .maximum recursion depth"),
    ],
)  # fmt: skip
def test_a_line_that_cannot_be_a_row_is_named(tmp_path, line, message):
    good = [json.dumps({"sentence": "x", "label": 1, "idx": i}).encode() for i in range(2)]
    path = tmp_path / "train.jsonl"
    path.write_bytes(b"\n".join([*good, line]))
    with pytest.raises(PreftuneError, match=f"{re.escape(str(path))}, {message}"):
        list(read_split(find_source("glue-cola"), "train", SplitFiles((path,))))


def talk(answer):
    return [{"role": "user", "content": "Q"}, {"role": "assistant", "content": answer}]


@pytest.mark.parametrize(
    ("name", "row", "column"),
    [
        ("alpaca-cleaned", {"instruction": None, "input": "x", "output": "y"}, "instruction"),
        ("alpaca-cleaned", {"instruction": "x", "input": 7, "output": "y"}, "input"),
        ("cnn-dailymail", {"article": None, "highlights": "y"}, "article"),
        ("tinystories-summary", {"summary": None, "story": "y"}, "summary"),
        ("boolq", {"title": None, "passage": "p", "question": "q", "label": 1}, "title"),
        ("boolq", {"title": "t", "passage": None, "question": "q", "label": 1}, "passage"),
        ("ultrafeedback", {"prompt": "Q", "chosen": talk(None), "rejected": talk("b")}, "content"),
        ("ultrafeedback", {"prompt": "Q", "chosen": talk("a"), "rejected": talk(7)}, "content"),
    ],
)
def test_what_is_no_text_does_not_become_one_inside_of_another(tmp_path, name, row, column):
    """A null would be trained on as "None"."""
    path = write_rows(tmp_path / "train.jsonl", [row])
    with pytest.raises(PreftuneError, match=f"row 1: column {column} holds (NoneType|int) .* and not string"):
        list(read_split(find_source(name), "train", SplitFiles((path,))))


def truncated_parquet():
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(arrow(ARC), sink)
    return sink.getvalue().to_pybytes()[:-30]


def broken_pages():
    """A table whose footer is whole, but not its rows."""
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.table({"id": [str(i) * 20 for i in range(4000)]}), sink)
    data = bytearray(sink.getvalue().to_pybytes())
    data[40:4000] = bytes(3960)
    return bytes(data)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("train.parquet", truncated_parquet(), "is empty, truncated or not a parquet file: fetch or copy it again"),
        ("train.parquet", broken_pages(), "is empty, truncated or not a parquet file: fetch or copy it again"),
        ("train.parquet", b"", "is empty, truncated or not a parquet file"),
        ("train.jsonl", b"", "train.jsonl is empty: fetch or copy it again"),
        ("train.jsonl.gz", gzip.compress(json.dumps(ARC[0]).encode() * 400)[:60], "is truncated or not a gzip file"),
        ("train.jsonl.gz", b"PK\x03\x04", "is truncated or not a gzip file"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_refused_by_the_step(tmp_path, capfd, name, data, message):
    path = tmp_path / "raw/arc_easy" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    fail("prepare_dataset", LIMITS, raw=tmp_path / "raw", dataset="arc-easy", output=tmp_path / "out")
    said = capfd.readouterr().err
    assert message in said and str(path) in said and "Traceback" not in said
    assert [left for left in tmp_path.iterdir() if left.is_dir()] == [tmp_path / "raw"]


def test_a_split_of_the_hub_with_another_number_of_rows_is_refused(tmp_path):
    write_rows(tmp_path / "arc_easy/train.jsonl.gz", ARC)
    with pytest.raises(PreftuneError, match="the split train of arc-easy has 8 rows where 2251 are expected"):
        prepare_splits("arc-easy", tmp_path, official=True)


def test_repeated_rows_are_counted_and_said(tmp_path):
    """Within train, and between train and test: the question alone (but for case and punctuation), or the whole row."""
    train = [*ARC, ARC[0] | {"id": "again"}, ARC[0] | {"id": "other", "answerKey": "B"}]
    test = [
        ARC[1] | {"id": "t1"},
        ARC[2] | {"id": "t2", "question": "which is: 2"},
        ARC[3] | {"id": "t3", "question": "A new one?"},
    ]
    for split, rows in (("train", train), ("test", test)):
        write_rows(tmp_path / f"raw/arc_easy/{split}.jsonl", rows)
    output = succeed(
        "prepare_dataset", LIMITS, raw=tmp_path / "raw", dataset="arc-easy", output=tmp_path / "out"
    )
    record = json.loads((output / "run.json").read_text())
    assert record["facts"]["repeats"] == {
        "train": {"repeated_rows": 1},
        "test": {"repeated_rows": 0, "questions_in_train": 2, "rows_in_train": 1},
    }
    assert record["warnings"] == [
        "1 rows of the split train of arc-easy repeat an earlier row of it.",
        "2 questions of the split test of arc-easy stand in its train split too (1 of them with the same answers).",
    ]
    assert record["facts"]["rows"] == {"train": 10, "test": 3}


def test_rows_without_repeats_say_nothing():
    repeats = Repeats(find_source("arc-easy").schema)
    for row in ARC:
        repeats.add("train", row)
    assert describe_repeats("arc-easy", repeats.count()) == []


@pytest.mark.parametrize(
    ("name", "stem", "identical"),
    [("arc-easy", "question", 7), ("arc-challenge", "question", 6), ("openbookqa", "question_stem", 23)],
)
def test_questions_that_official_test_splits_share_with_train(tmp_path, name, stem, identical):
    """At least as many as stems that are identical to the letter, which were counted before."""
    if not REAL.is_dir():
        pytest.skip(f"{REAL} is missing: set PREFTUNE_REAL_DATA to a folder of real rows")
    source = find_source(name)
    repeats = prepare(source, find_files(source, REAL), tmp_path, None, None, 0, official=False).repeats
    splits = load_from_disk(str(tmp_path))
    stems = {split: [fold_text(text) for text in splits[split][stem]] for split in ("train", "test")}
    found = repeats["test"]["questions_in_train"]
    assert identical <= found == sum(text in set(stems["train"]) for text in stems["test"])

"""What people already have on disk: caches and snapshots of the hub, official archives as they unpack. Each layout gives the
data sets that the same rows give in the hub's columns.
"""

import gzip
import json
import os
import shutil
from itertools import groupby
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import yaml

from preftune.data.layouts import find_files
from preftune.data.raw import DATASETS_FILE, find_source, read_split
from preftune.data.schemas import SCHEMAS
from preftune.errors import PreftuneError
from tests.rows import prepare_splits, write_rows

REAL = Path(os.environ.get("PREFTUNE_REAL_DATA", Path(__file__).resolve().parents[3] / "../shared/data"))
COUNT = 4
REGISTRY = yaml.safe_load(DATASETS_FILE.read_text())


def glue(*texts, labels=(0, 1), hidden=-1, splits=("train", "validation", "test")):
    """Rows in the hub's columns; quotes and spaces stay as they are. The test split hides its labels."""
    return {
        split: [
            {
                **{text: f'"{text} {split} {i} ' for text in texts},
                "label": hidden if split.startswith("test") else labels[i % len(labels)],
                "idx": i,
            }
            for i in range(COUNT)
        ]
        for split in splits
    }


def tsv(path, header, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join("\t".join(map(str, line)) + "\n" for line in ([header] if header else []) + lines)
    )


FILES = {"train": "train", "validation": "dev", "test": "test"}
ENTAILMENT = ["entailment", "neutral", "contradiction"]
BINARY = ["entailment", "not_entailment"]


def write_cola(root, splits):
    for split, rows in splits.items():
        if split == "test":
            tsv(root / "CoLA/test.tsv", ["index", "sentence"], [[r["idx"], r["sentence"]] for r in rows])
        else:
            lines = [["gj04", row["label"], "*" * (not row["label"]), row["sentence"]] for row in rows]
            tsv(root / f"CoLA/{FILES[split]}.tsv", None, lines)


def write_table(folder, columns, label, names=None, extra=()):
    """A writer of GLUE tables with a header; `columns` maps the hub's columns to the file's."""

    def write(root, splits):
        for split, rows in splits.items():
            name = FILES.get(split, split.replace("validation", "dev"))
            hidden = split.startswith("test")
            header = ["index", *extra, *columns.values(), *([] if hidden else [label])]
            lines = [
                [row["idx"], *("x" for _ in extra), *(row[column] for column in columns)]
                + ([] if hidden else [names[row["label"]] if names else row["label"]])
                for row in rows
            ]
            tsv(root / f"{folder}/{name}.tsv", header, lines)

    return write


MRPC_HEADER = ["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"]


def mrpc_line(row, number):
    return [row["label"], number, number + 5000, row["sentence1"], row["sentence2"]]


def write_mrpc(root, splits):
    """One file of both labelled splits, told apart by ids; it opens with a byte order mark. The test split has labels."""
    for number, row in enumerate(splits["train"] + splits["validation"]):
        row["idx"] = number
    rows = sorted(splits["train"] + splits["validation"], key=lambda row: row["idx"])
    tsv(root / "MRPC/msr_paraphrase_train.txt", MRPC_HEADER, [mrpc_line(row, row["idx"]) for row in rows])
    path = root / "MRPC/msr_paraphrase_train.txt"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    tsv(root / "MRPC/dev_ids.tsv", None, [[row["idx"], row["idx"] + 5000] for row in splits["validation"]])
    tsv(root / "MRPC/msr_paraphrase_test.txt", MRPC_HEADER, [mrpc_line(r, r["idx"]) for r in splits["test"]])
    # The tables that GLUE's own script makes of them stand beside.
    tsv(root / "MRPC/train.tsv", MRPC_HEADER, [mrpc_line(row, row["idx"]) for row in splits["train"]])


def write_race(part):
    def write(root, splits):
        for split, rows in splits.items():
            for name, questions in groupby(rows, key=lambda row: row["example_id"]):
                found = list(questions)
                passage = {"article": found[0]["article"], "id": name}
                passage |= {f"{key}s": [row[key] for row in found] for key in ("answer", "question")}
                passage["options"] = [row["options"] for row in found]
                path = root / f"RACE/{FILES[split]}/{part}/{name}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(passage))

    return write


def write_stems(pattern, stem, names):
    def write(root, splits):
        for split, rows in splits.items():
            nested = [
                {
                    "id": row["id"],
                    "question": {
                        "stem": row[stem],
                        "choices": [
                            {"text": text, "label": label}
                            for text, label in zip(
                                row["choices"]["text"], row["choices"]["label"], strict=True
                            )
                        ],
                    },
                    "answerKey": row["answerKey"],
                }
                for row in rows
            ]
            write_rows(root / pattern.format(names[split]), nested)

    return write


def write_lines(names, without):
    """A writer of JSON Lines; the test split lacks the column `without`."""

    def write(root, splits):
        for split, rows in splits.items():
            hidden = split == "test"
            kept = [{k: v for k, v in row.items() if not (hidden and k == without)} for row in rows]
            write_rows(root / names[split], kept)

    return write


def write_piqa(root, splits):
    for split, rows in splits.items():
        folder, name = root / "physicaliqa-train-dev", {**FILES, "test": "tests"}[split]
        write_rows(folder / f"{name}.jsonl", [{k: v for k, v in row.items() if k != "label"} for row in rows])
        if split != "test":
            (folder / f"{name}-labels.lst").write_text("".join(f"{row['label']}\n" for row in rows))


def write_boolq(root, splits):
    """The stand-alone data set: titles apart, truth values."""
    for split, rows in splits.items():
        write_rows(root / f"BoolQ/{FILES[split]}.jsonl", [
            {"title": row["passage"].split(" -- ")[0], "passage": row["passage"].split(" -- ")[1],
             "question": row["question"], "answer": bool(row["label"])}
            for row in rows
        ])  # fmt: skip


def rows_of(make, splits=("train", "validation", "test")):
    return {split: [make(split, i) for i in range(COUNT)] for split in splits}


def hide(rows, column, value):
    for row in rows["test"]:
        row[column] = value
    return rows


def choices(split, i):
    return {"text": [f"{split} {i} {option}" for option in "wxyz"], "label": list("ABCD")}


def nli(splits):
    return glue("premise", "hypothesis", labels=(0, 1, 2), splits=splits)


MNLI = (
    "train",
    "validation_matched",
    "validation_mismatched",
    "test_matched",
    "test_mismatched",
)
PAIR = {"sentence1": "sentence1", "sentence2": "sentence2"}
PREMISES = {"premise": "sentence1", "hypothesis": "sentence2"}
STSB = glue("sentence1", "sentence2", labels=(0.0, 2.5, 5.0), hidden=-1.0)
MRPC = glue("sentence1", "sentence2")
MRPC["test"] = [row | {"label": 1} for row in MRPC["test"]]
RACE = rows_of(
    lambda split, i: {"example_id": f"{split}{i // 2}.txt", "article": f"Article {i // 2}.", "answer": "ABCD"[i % 4],
                      "question": f"Question {i}?", "options": choices(split, i)["text"]}
)  # fmt: skip
LAYOUTS = {
    "glue-cola": (glue("sentence"), write_cola),
    "glue-sst2": (glue("sentence"), write_table("glue_data/SST-2", {"sentence": "sentence"}, "label")),
    "glue-mrpc": (MRPC, write_mrpc),
    "glue-qqp": (glue("question1", "question2"),
                 write_table("QQP", {"question1": "question1", "question2": "question2"}, "is_duplicate")),
    "glue-stsb": (STSB, write_table("STS-B", PAIR, "score", extra=("genre", "filename"))),
    "glue-mnli": (nli(MNLI), write_table("MNLI", PREMISES, "gold_label", ENTAILMENT, extra=("genre", "label1"))),
    "passage-contradiction": (
        {"validation": [row | {"premise": "P"} for row in nli(("validation",))["validation"]]},
        lambda root, splits: write_table("MNLI", PREMISES, "gold_label", ENTAILMENT)(
            root, {"validation_matched": splits["validation"]}),
    ),
    "glue-qnli": (glue("question", "sentence"),
                  write_table("QNLI", {"question": "question", "sentence": "sentence"}, "label", BINARY)),
    "glue-rte": (glue("sentence1", "sentence2"), write_table("RTE", PAIR, "label", BINARY)),
    "glue-wnli": (glue("sentence1", "sentence2"), write_table("WNLI", PAIR, "label")),
    "glue-ax": (nli(("test",)), lambda root, splits: (
        write_table("AX", PREMISES, "label", ENTAILMENT)(root, splits),
        (root / "AX/test.tsv").rename(root / "AX/diagnostic.tsv"))),
    "race-middle": (RACE, write_race("middle")),
    "race-high": (RACE, write_race("high")),
    "arc-easy": (
        rows_of(lambda split, i: {"id": f"{split}{i}", "question": f"Q {split} {i}?", "choices": choices(split, i),
                                  "answerKey": "ABCD"[i]}),
        write_stems("ARC-V1-Feb2018-2/ARC-Easy/ARC-Easy-{}.jsonl", "question",
                    {"train": "Train", "validation": "Dev", "test": "Test"}),
    ),
    "openbookqa": (
        rows_of(lambda split, i: {"id": f"{split}{i}", "question_stem": f"Q {split} {i}", "choices": choices(split, i),
                                  "answerKey": "DCBA"[i]}),
        write_stems("OpenBookQA-V1-Sep2018/Data/Main/{}.jsonl", "question_stem", FILES),
    ),
    "winogrande": (
        hide(rows_of(lambda split, i: {"sentence": f"{split} {i} _.", "option1": "Ann", "option2": "Bob",
                                       "answer": "12"[i % 2]}), "answer", ""),
        write_lines({"train": "winogrande_1.1/train_xl.jsonl", "validation": "winogrande_1.1/dev.jsonl",
                     "test": "winogrande_1.1/test.jsonl"}, "answer"),
    ),
    "hellaswag": (
        hide(rows_of(lambda split, i: {"ind": i, "activity_label": "A", "ctx_a": f"{split} {i}", "ctx_b": "she",
                                       "ctx": f"{split} {i} she", "endings": choices(split, i)["text"],
                                       "label": "0123"[i]}), "label", ""),
        write_lines({"train": "hellaswag/hellaswag_train.jsonl", "validation": "hellaswag/hellaswag_val.jsonl",
                     "test": "hellaswag/hellaswag_test.jsonl"}, "label"),
    ),
    "piqa": (
        hide(rows_of(lambda split, i: {"goal": f"{split} {i}", "sol1": "a", "sol2": "b", "label": i % 2}), "label", -1),
        write_piqa,
    ),
    "boolq": (
        rows_of(lambda split, i: {"passage": f"Title {i} -- {split} passage.", "question": f"is it {i}", "label": i % 2},
                ("train", "validation")),
        write_boolq,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_official_archive_gives_the_hubs_rows(tmp_path, name):
    splits, write = LAYOUTS[name]
    source = find_source(name)
    write(tmp_path / "archive", splits)
    for split, rows in splits.items():
        path = tmp_path / "hub" / source.files[split].replace(".jsonl.gz", ".parquet")
        path.parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    theirs, ours = (prepare_splits(name, tmp_path / folder) for folder in ("archive", "hub"))
    assert set(theirs) == set(splits)
    for split in splits:
        assert theirs[split].features == ours[split].features
        assert theirs[split].to_list() == ours[split].to_list(), split


def test_rows_of_qqp_that_lack_columns_are_left_out_as_on_the_hub(tmp_path, capsys):
    splits, write = LAYOUTS["glue-qqp"]
    write(tmp_path, {"train": splits["train"]})
    path = tmp_path / "QQP/train.tsv"
    first, *others = path.read_text().splitlines(keepends=True)
    path.write_text("".join([first, others[0], "7\thalf a row\n", *others[1:]]))
    source = find_source("glue-qqp")
    rows = list(read_split(source, "train", find_files(source, tmp_path)["train"]))
    assert [row["idx"] for row in rows] == [0, 2, 3, 4]
    assert "1 rows lack columns" in capsys.readouterr().err


def snapshot(root, rows, name="train-00000-of-00001.parquet"):
    (root / "data").mkdir(parents=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), root / "data" / name)


ORCA = [{"system": "", "question": f"Q{i}", "chosen": "a", "rejected": "b"} for i in range(6)]


@pytest.mark.parametrize(
    "place",
    [
        "hub/datasets--Intel--orca_dpo_pairs/snapshots/0a1b",
        "datasets--Intel--orca_dpo_pairs/snapshots/0a1b",
        "Intel/orca_dpo_pairs",
        "orca_dpo_pairs",
    ],
)
def test_a_cache_or_snapshot_of_the_hub_is_read(tmp_path, place):
    source = find_source("orca-dpo-pairs")
    snapshot(tmp_path / place, ORCA[:4], "train-00000-of-00002.parquet")
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist(ORCA[4:]), tmp_path / place / "data/train-00001-of-00002.parquet"
    )
    rows = list(read_split(source, "train", find_files(source, tmp_path)["train"]))
    assert [row["prompt"] for row in rows] == [row["question"] for row in ORCA]


def test_of_several_cached_revisions_the_registrys_is_read(tmp_path):
    source = find_source("orca-dpo-pairs")
    for revision, rows in (("1111", ORCA[:1]), ("2222", ORCA)):
        snapshot(tmp_path / "hub/datasets--Intel--orca_dpo_pairs/snapshots" / revision, rows)
    source.hub["revision"] = "2222"
    assert len(list(read_split(source, "train", find_files(source, tmp_path)["train"]))) == len(ORCA)
    source.hub["revision"] = "3333"
    with pytest.raises(PreftuneError, match=r"holds the revisions 1111, 2222, and not the pinned one .3333"):
        find_files(source, tmp_path)


def test_a_split_that_stands_twice_is_refused(tmp_path):
    splits, write = LAYOUTS["arc-easy"]
    write(tmp_path, splits)
    write_rows(tmp_path / "arc_easy/train.jsonl.gz", splits["train"])
    with pytest.raises(
        PreftuneError, match=r"split train of arc-easy stands twice under .*archive.*columns"
    ) as error:
        find_files(find_source("arc-easy"), tmp_path)
    assert "ARC-Easy-Train.jsonl" in str(error.value) and "arc_easy/train.jsonl.gz" in str(error.value)


def test_a_lone_file_of_another_split_is_not_the_training_split(tmp_path):
    """The folder of our own layout has the name of the hub's repository."""
    row = {"goal": "g", "sol1": "a", "sol2": "b", "label": 0}
    path = write_rows(tmp_path / "piqa/validation.jsonl", [row])
    assert set(find_files(find_source("piqa"), tmp_path)) == {"validation"}
    path.unlink()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), path.with_suffix(".parquet"))
    assert set(find_files(find_source("piqa"), tmp_path)) == {"validation"}


@pytest.mark.parametrize(
    ("name", "file", "found"),
    [("hellaswag", "hellaswag/hellaswag_val.jsonl", {"validation"}), ("piqa", "piqa/tests.jsonl", {"test"})],
)
def test_nor_is_a_lone_evaluation_file_of_the_official_archive(tmp_path, name, file, found):
    write_rows(tmp_path / file, [{}])
    assert set(find_files(find_source(name), tmp_path)) == found


@pytest.mark.parametrize(
    "name", [name for name, row in REGISTRY.items() if row["schema"] in SCHEMAS and "hub" in row["sources"]]
)
def test_every_split_of_a_snapshot_is_found(tmp_path, name):
    source = find_source(name)
    hub = source.hub
    folder = tmp_path / hub["repo"] / (hub["configuration"] or "data")
    folder.mkdir(parents=True)
    files = {split: folder / f"{theirs}-00000-of-00001.parquet" for split, theirs in hub["splits"].items()}
    for file in files.values():
        file.touch()
    found = find_files(source, tmp_path)
    assert {split: place.paths for split, place in found.items()} == {
        split: (file,) for split, file in files.items()
    }


def test_a_cache_that_lacks_a_file_of_a_split_is_refused(tmp_path):
    """A download was broken off."""
    place = tmp_path / "datasets--Intel--orca_dpo_pairs/snapshots/0a1b"
    snapshot(place, ORCA[:4], "train-00001-of-00003-0a1b2c.parquet")
    with pytest.raises(PreftuneError, match="0a1b holds 1 of 3 files of the split train of orca-dpo-pairs"):
        find_files(find_source("orca-dpo-pairs"), tmp_path)


def test_a_folder_that_may_not_be_read_is_none_of_the_archives(tmp_path, monkeypatch):
    """As the lost+found of a disk of data."""
    splits, write = LAYOUTS["glue-cola"]
    write(tmp_path / "glue_data", splits)
    (tmp_path / "lost+found").mkdir()
    stat = os.stat

    def refuse(path, *others, **options):
        if "lost+found/" in os.fspath(path):
            raise PermissionError(13, "Permission denied", path)
        return stat(path, *others, **options)

    monkeypatch.setattr(os, "stat", refuse)
    assert set(find_files(find_source("glue-cola"), tmp_path)) == {"train", "validation", "test"}


def test_a_repository_of_one_json_list_is_read(tmp_path):
    source = find_source("alpaca-cleaned")
    rows = [{"instruction": f"Do {i}.", "input": "", "output": "Done."} for i in range(3)]
    path = tmp_path / source.hub["repo"] / "alpaca_data_cleaned.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(rows, indent=1))
    found = list(read_split(source, "train", find_files(source, tmp_path)["train"]))
    assert [row["prompt"] for row in found] == ["Do 0.", "Do 1.", "Do 2."]


@pytest.mark.parametrize(
    ("name", "file", "change", "message"),
    [
        ("glue-rte", "RTE/train.tsv", lambda text: text.replace("not_entailment", "no"), "row 3 has the label 'no', which is not"),
        ("glue-rte", "RTE/train.tsv", lambda text: text.replace("sentence2", "other", 1), "has no column 'sentence2' .it has"),
        ("glue-rte", "RTE/train.tsv", lambda text: text.replace("\tentailment", ""), "row 2 has 3 of 4 columns"),
        ("glue-sst2", "glue_data/SST-2/train.tsv", lambda text: text.replace("\t1\n", "\t2\n"), "row 3 has the label 2"),
        ("piqa", "physicaliqa-train-dev/train-labels.lst", lambda text: text[2:], "row 4 has no label in .*labels.lst"),
        ("piqa", "physicaliqa-train-dev/train-labels.lst", lambda text: text + "1\n", "has 5 labels for the 4 rows"),
        ("arc-easy", "ARC-V1-Feb2018-2/ARC-Easy/ARC-Easy-Train.jsonl", lambda text: text.replace('"stem"', '"text"', 1),
         "row 1 has no question with stem"),
        ("race-high", "RACE/train/high/train0.txt", lambda text: text.replace("articles", "x").replace('"answers"', '"a"'),
         "train0.txt is no passage of RACE"),
    ],
)  # fmt: skip
def test_a_fault_in_an_official_file_is_named(tmp_path, name, file, change, message):
    splits, write = LAYOUTS[name]
    write(tmp_path, splits)
    path = tmp_path / file
    path.write_text(change(path.read_text()))
    source = find_source(name)
    with pytest.raises(PreftuneError, match=message):
        list(read_split(source, "train", find_files(source, tmp_path)["train"]))


def test_text_of_another_encoding_is_named(tmp_path):
    splits, write = LAYOUTS["glue-cola"]
    write(tmp_path, splits)
    path = tmp_path / "CoLA/train.tsv"
    path.write_bytes(path.read_bytes().replace(b"train 2", "é".encode("latin-1")))
    source = find_source("glue-cola")
    with pytest.raises(PreftuneError, match=r"train\.tsv, row 3 is not UTF-8 text: convert"):
        list(read_split(source, "train", find_files(source, tmp_path)["train"]))


@pytest.mark.parametrize(
    "name", ["glue-cola", "glue-qnli", "glue-rte", "glue-stsb", "race-middle", "arc-easy", "openbookqa"]
)
def test_real_rows_survive_the_official_layout(tmp_path, name):
    """A few hundred real rows, written as the archive has them and read back."""
    if not REAL.is_dir():
        pytest.skip(f"{REAL} is missing: set PREFTUNE_REAL_DATA to a folder of real rows")
    source = find_source(name)
    columns = source.schema.columns
    with gzip.open(REAL / source.files["train"], "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for _, line in zip(range(400), stream, strict=False)]
    rows = [{column: row[column] for column in columns} for row in rows]
    if name == "race-middle":
        rows.sort(key=lambda row: (len(row["example_id"]), row["example_id"]))
    for idx, row in enumerate(rows if "idx" in columns else ()):
        row["idx"] = idx
    LAYOUTS[name][1](tmp_path, {"train": rows})
    found = [
        {column: row[column] for column in columns}
        for row in read_split(source, "train", find_files(source, tmp_path)["train"])
    ]
    assert found == rows
    shutil.rmtree(tmp_path)

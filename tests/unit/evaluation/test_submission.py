"""Files for the GLUE server: labels as the server spells them, rows in the published order, and every refusal."""

import zipfile
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import pytest
import yaml

from preftune.data.raw import DATASETS_FILE
from preftune.data.tasks.registry import read_tasks
from preftune.errors import PreftuneError
from preftune.evaluation.submission import (
    FILES,
    check_submission,
    predict_labels,
    read_predictions,
    write_submission,
)

ROWS = 3
COUNTS = dict.fromkeys(FILES, ROWS)
# The server's spelling of each label, in the order of the label's numbers.
LABELS = {
    "cola-test": ["0", "1"],
    "sst2-test": ["0", "1"],
    "mrpc-test": ["0", "1"],
    "qqp-test": ["0", "1"],
    "wnli-test": ["0", "1"],
    "stsb-test": ["0.000", "1.000", "2.000", "3.000", "4.000", "5.000"],
    "mnli-matched-test": ["entailment", "neutral", "contradiction"],
    "mnli-mismatched-test": ["entailment", "neutral", "contradiction"],
    "ax": ["entailment", "neutral", "contradiction"],
    "qnli-test": ["entailment", "not_entailment"],
    "rte-test": ["entailment", "not_entailment"],
}
# gluebenchmark.com: rows of each file.
OFFICIAL = {
    "AX.tsv": 1104,
    "CoLA.tsv": 1063,
    "MNLI-m.tsv": 9796,
    "MNLI-mm.tsv": 9847,
    "MRPC.tsv": 1725,
    "QNLI.tsv": 5463,
    "QQP.tsv": 390965,
    "RTE.tsv": 3000,
    "SST-2.tsv": 1821,
    "STS-B.tsv": 1379,
    "WNLI.tsv": 146,
}


def make_table(best: list[int], candidates: int, order: list[int] | None = None) -> pd.DataFrame:
    """Row i of the split has its highest log score at candidate best[i] and its highest reward at the next one; the table
    holds the rows in `order`.
    """
    rows = [
        {
            "document": f"test-{row}",
            "candidate": place,
            "label": str(place),
            "log_probability": -2.0 if place == best[row] else -6.0,
            "tokens": 2,
            "end_log_probability": -0.5,
            "reward": float(place == (best[row] + 1) % candidates),
        }
        for row in order or range(len(best))
        for place in range(candidates)
    ]
    return pd.DataFrame(rows)


def make_folder(folder: Path) -> Path:
    """The score folder of a run that answers every row of every split with its first candidate."""
    folder.mkdir()
    for task, labels in LABELS.items():
        make_table([0] * ROWS, len(labels)).to_parquet(folder / f"{task}.parquet", index=False)
    return folder


@pytest.mark.parametrize("task", LABELS)
def test_every_label_is_spelt_as_the_server_wants_it(task: str) -> None:
    labels = LABELS[task]
    table = make_table(list(range(len(labels))), len(labels))
    assert predict_labels(table, task, "log") == labels
    assert predict_labels(table, task, "reward") == labels[1:] + labels[:1]


def test_a_label_stands_for_each_label_of_the_task() -> None:
    tasks = {name: task for name, task in read_tasks().items() if task.suite == "glue-test"}
    assert set(tasks) == set(FILES) == set(LABELS)
    for name, task in tasks.items():
        assert task.metrics == () and task.mixes == ()
        assert len(FILES[name].labels or LABELS["stsb-test"]) == task.labels


def test_names_and_official_counts() -> None:
    registry = yaml.safe_load(DATASETS_FILE.read_text())
    tasks = read_tasks()
    counts = {
        file.name: registry[tasks[task].dataset]["counts"][tasks[task].split] for task, file in FILES.items()
    }
    assert counts == OFFICIAL


def test_rows_stand_in_the_order_of_the_raw_split() -> None:
    """Prepared splits are shuffled; and test-10 comes after test-9."""
    best = [0, 1, 1, 0, 1, 0, 0, 1, 0, 1, 1, 1]
    table = make_table(best, 2, order=[11, 3, 0, 10, 7, 1, 9, 2, 8, 4, 6, 5])
    assert predict_labels(table, "cola-test", "log") == [str(label) for label in best]


def test_a_tie_goes_to_the_first_candidate() -> None:
    table = make_table([1, 2], 3).assign(reward=[0.5, 0.5, 0.5, 0.0, 1.0, 1.0])
    assert predict_labels(table, "ax", "reward") == ["entailment", "neutral"]
    # -6 a token for two tokens is -3, as -3 for one.
    table = table.assign(log_probability=[-9.0, -3.0, -6.0] * 2, tokens=[2, 1, 2] * 2)
    assert predict_labels(table, "ax", "log") == ["neutral", "neutral"]


def test_a_score_that_the_run_lacks_and_an_unnamed_row_are_named() -> None:
    table = make_table([0, 1], 2)
    with pytest.raises(PreftuneError, match="task cola-test: the run has no reward score of every candidate"):
        predict_labels(table.assign(reward=float("nan")), "cola-test", "reward")
    with pytest.raises(PreftuneError, match="the document x does not name its row"):
        predict_labels(table.replace({"document": {"test-1": "x"}}), "cola-test", "log")


def test_a_folder_without_a_split_is_named(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "scores")
    (folder / "qqp-test.parquet").unlink()
    with pytest.raises(PreftuneError, match=r"qqp-test\.parquet does not exist"):
        read_predictions(folder, "log")


@pytest.fixture
def submission(tmp_path: Path) -> Path:
    """A zip that the check accepts, for splits of three rows."""
    path = tmp_path / "submission.zip"
    write_submission(path, read_predictions(make_folder(tmp_path / "scores"), "log"))
    check_submission(path, COUNTS)
    return path


def read_texts(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def write_texts(path: Path, texts: list[tuple[str, str]]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in texts:
            archive.writestr(zipfile.ZipInfo(name), text)


def test_files_lie_at_the_top_level_with_header_and_index(submission: Path) -> None:
    texts = read_texts(submission)
    assert sorted(texts) == sorted(OFFICIAL)
    assert texts["RTE.tsv"] == "index\tprediction\n0\tentailment\n1\tentailment\n2\tentailment\n"
    assert texts["STS-B.tsv"] == "index\tprediction\n0\t0.000\n1\t0.000\n2\t0.000\n"


def test_equal_predictions_give_equal_bytes(submission: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.zip"
    write_submission(again, read_predictions(tmp_path / "scores", "log"))
    assert again.read_bytes() == submission.read_bytes()
    with zipfile.ZipFile(again) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


@pytest.mark.parametrize(
    ("file", "old", "new", "sentence"),
    [
        ("CoLA.tsv", "index\tprediction", "index\tlabel", r"CoLA.tsv starts with 'index\\tlabel'"),
        ("CoLA.tsv", "index\tprediction\n", "", r"CoLA.tsv starts with '0\\t0'"),
        ("CoLA.tsv", "2\t0\n", "", "CoLA.tsv has 2 rows where 3 are expected"),
        ("CoLA.tsv", "2\t0\n", "2\t0\n3\t0\n", "CoLA.tsv has 4 rows where 3 are expected"),
        ("CoLA.tsv", "2\t0\n", "2\t0\n\n", "CoLA.tsv has 4 rows where 3 are expected"),
        ("MRPC.tsv", "1\t0\n", "3\t0\n", "MRPC.tsv has the index '3' where 1 is expected"),
        ("MRPC.tsv", "1\t0\n", "0\t0\n", "MRPC.tsv has the index '0' where 1 is expected"),
        ("MRPC.tsv", "1\t0\n", "01\t0\n", "MRPC.tsv has the index '01' where 1 is expected"),
        ("QQP.tsv", "1\t0\n", "1\tyes\n", "QQP.tsv has the prediction 'yes' at index 1, .* expects 0, 1:"),
        ("SST-2.tsv", "1\t0\n", "1\t2\n", "SST-2.tsv has the prediction '2' at index 1"),
        ("WNLI.tsv", "1\t0\n", "1\t0\t0\n", r"WNLI.tsv has the prediction '0\\t0' at index 1"),
        ("MNLI-m.tsv", "2\tentailment", "2\tTrue", "expects entailment, neutral, contradiction"),
        ("MNLI-mm.tsv", "2\tentailment", "2\tnot_entailment", "prediction 'not_entailment' at index 2"),
        ("AX.tsv", "0\tentailment", "0\tEntailment", "prediction 'Entailment' at index 0"),
        ("QNLI.tsv", "0\tentailment", "0\tneutral", "expects entailment, not_entailment"),
        ("RTE.tsv", "0\tentailment", "0\tnot entailment", "prediction 'not entailment' at index 0"),
        ("STS-B.tsv", "1\t0.000", "1\t5.001", "STS-B.tsv has the prediction '5.001' .* a number from 0 to 5"),
        ("STS-B.tsv", "1\t0.000", "1\t-0.5", "prediction '-0.5' at index 1"),
        ("STS-B.tsv", "1\t0.000", "1\tnan", "prediction 'nan' at index 1"),
    ],
)
def test_a_fault_in_a_file_is_named(submission: Path, file: str, old: str, new: str, sentence: str) -> None:
    texts = read_texts(submission)
    assert old in texts[file]
    write_texts(submission, list((texts | {file: texts[file].replace(old, new)}).items()))
    with pytest.raises(PreftuneError, match=sentence):
        check_submission(submission, COUNTS)


@pytest.mark.parametrize("fault", ["missing", "extra", "renamed", "nested", "twice", "empty"])
def test_a_fault_in_the_names_is_named(submission: Path, fault: str) -> None:
    texts = list(read_texts(submission).items())
    (name, text), rest = texts[0], texts[1:]
    changed = {
        "missing": rest,
        "extra": [*texts, ("readme.txt", "")],
        "renamed": [(name.lower(), text), *rest],
        "nested": [(f"submission/{name}", text) for name, text in texts],
        "twice": [*texts, (f"{name}", text)],
        "empty": [],
    }[fault]
    with pytest.warns(UserWarning, match="Duplicate") if fault == "twice" else nullcontext():
        write_texts(submission, changed)
    with pytest.raises(PreftuneError, match="at its top level, each once, and nothing else"):
        check_submission(submission, COUNTS)


@pytest.mark.parametrize("data", [b"", b"PK", b"index\tprediction\n"])
def test_what_is_no_zip_is_named(submission: Path, data: bytes) -> None:
    submission.write_bytes(data)
    with pytest.raises(PreftuneError, match="is not a zip of text files"):
        check_submission(submission, COUNTS)


def test_a_damaged_zip_is_named(submission: Path) -> None:
    data = bytearray(submission.read_bytes())
    start = data.index(b"AX.tsv") + len("AX.tsv")
    data[start : start + 8] = bytes(8)
    submission.write_bytes(bytes(data))
    with pytest.raises(PreftuneError, match="is not a zip of text files"):
        check_submission(submission, COUNTS)


def test_official_counts_refuse_a_part_and_missing_counts_are_named(submission: Path) -> None:
    with pytest.raises(PreftuneError, match=r"AX\.tsv has 3 rows where 1104 are expected"):
        check_submission(submission, {task: OFFICIAL[file.name] for task, file in FILES.items()})
    with pytest.raises(PreftuneError, match="the counts lack ax, qqp-test"):
        check_submission(submission, {task: ROWS for task in FILES if task not in ("ax", "qqp-test")})

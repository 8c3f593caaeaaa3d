"""The steps that make files for the GLUE server, on a tiny model and a few rows, and without Snakemake."""

import importlib
import zipfile
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict

from preftune.data.embedded.language import write_language_data
from preftune.data.tasks.registry import read_tasks
from preftune.evaluation.submission import FILES
from preftune.files import read_json, sha256_file
from tests.rows import prepare_splits
from tests.scripts.steps import fail, succeed

ROWS = 3
SETTINGS = {"tasks": sorted(FILES), "limit": None, "long": "truncate"}
TALKS = [{"prompt": f"What about {n}?", "response": f"Answer {n}."} for n in range(20)]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared data sets with hidden test splits of three rows."""
    folder = tmp_path_factory.mktemp("submission")
    write_language_data(folder / "raw", TALKS, train=6, evaluation=ROWS, seed=0)
    for name in {task.dataset for task in read_tasks().values() if task.name in FILES}:
        prepare_splits(name, folder / "raw").save_to_disk(str(folder / "data" / name))
    return folder


@pytest.fixture(scope="module")
def scores(work: Path, base: Path) -> Path:
    """Scores of the base model."""
    datasets = sorted((work / "data").iterdir())
    return succeed("evaluate_submission", SETTINGS, base=base, datasets=datasets, output=work / "scores")


def test_hidden_splits_are_scored_without_metrics(scores: Path) -> None:
    for task in FILES:
        report = read_json(scores / f"{task}.json")
        assert (report["n"], report["metrics"]) == (ROWS, {})
    assert read_json(scores / "run.json")["facts"]["tasks"] == 11


def test_the_zip_holds_every_row_and_repeats_byte_for_byte(work: Path, scores: Path) -> None:
    path = succeed(
        "export_glue_submission", {"score": "log"}, scores=scores, output=work / "submission-log.zip"
    )
    with zipfile.ZipFile(path) as archive:
        assert sorted(archive.namelist()) == sorted(file.name for file in FILES.values())
        lines = archive.read("MNLI-mm.tsv").decode().splitlines()
    assert [line.split("\t")[0] for line in lines] == ["index", "0", "1", "2"]
    record = read_json(work / "submission-log.run.json")
    assert record["facts"] == {"rows": dict.fromkeys(FILES, ROWS), "whole": False}
    assert len(record["warnings"]) == 1
    again = succeed("export_glue_submission", {"score": "log"}, scores=scores, output=work / "again.zip")
    assert sha256_file(again) == sha256_file(path)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"score": "reward"}, "the run has no reward score"),
        ({"score": "implicit"}, "key score"),
        ({"score": "log", "counts": dict.fromkeys(FILES, 1063)}, "AX.tsv has 3 rows where 1063 are expected"),
        ({"score": "log", "counts": {"ax": 3}}, "the counts lack cola-test"),
    ],
)
def test_what_cannot_be_made_is_one_sentence(
    work: Path, scores: Path, settings: dict, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fail("export_glue_submission", settings, scores=scores, output=work / "never.zip")
    error = capsys.readouterr().err
    assert sentence in error and "Traceback" not in error


def test_counts_of_the_whole_splits_are_kept(work: Path, scores: Path) -> None:
    settings = {"score": "log", "counts": dict.fromkeys(FILES, ROWS)}
    succeed("export_glue_submission", settings, scores=scores, output=work / "whole.zip")
    record = read_json(work / "whole.run.json")
    assert record["facts"]["whole"] and record["warnings"] == []


def test_a_missing_test_split_is_one_sentence(
    tmp_path: Path, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "glue-cola"
    DatasetDict({"train": Dataset.from_dict({"sentence": ["x"], "label": [1]})}).save_to_disk(str(folder))
    settings = SETTINGS | {"tasks": ["cola-test"]}
    fail("evaluate_submission", settings, base=base, datasets=[folder], output=tmp_path / "never")
    error = capsys.readouterr().err
    assert "no" in error and "test" in error and "cola-test" in error and "Traceback" not in error


@pytest.mark.parametrize("script", ["evaluate_submission", "export_glue_submission"])
def test_help_names_every_option(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        importlib.import_module(script).main(["--help"])
    assert stop.value.code == 0
    assert "--output" in capsys.readouterr().out

"""The table scripts' command lines, without Snakemake."""

import csv
import json
import shutil
from pathlib import Path

import export_published
import pytest
import tabulate_alignment
import tabulate_captioning
import tabulate_claims
import tabulate_costs
import tabulate_scores
from jsonschema import validate

from preftune.tables.alignment import ALIGNMENT_TABLES
from preftune.tables.cells import CAPTIONING_TABLES
from preftune.tables.files import read_records
from tests.unit.figures.synthetic import captioner
from tests.unit.tables.alignment_folders import (
    answer_rows,
    write_best_of,
    write_random_drift,
    write_random_pairs,
    write_record,
)
from tests.unit.tables.score_folders import write_captioner, write_run

CONFIG = Path(__file__).parents[2] / "config"


def settings(paper: str, *runs: str) -> str:
    return json.dumps({"paper": paper, "scale": "demo", "data": "embedded", "runs": runs})


def outputs(folder: Path, name: str) -> list[str]:
    suffixes = {"--output": "csv", "--markdown": "md", "--latex": "tex", "--audit": "audit.json"}
    return [word for flag, suffix in suffixes.items() for word in (flag, str(folder / f"{name}.{suffix}"))]


def tabulate(folder: Path, table: str, scores: Path, paper: str, *runs: str) -> list[dict[str, object]]:
    words = ["--cells", str(CONFIG / "cells.tsv"), "--table", table, "--scores", str(scores)]
    tabulate_scores.main([*words, *outputs(folder, table), "--settings", settings(paper, *runs)])
    return read_records(folder / f"{table}.audit.json")


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scores of two runs of each paper, two seeds where a run is cheap."""
    folder = tmp_path_factory.mktemp("scored")
    write_run(folder / "dph" / "scores", "sft", [0, 1], 0.5, items=20)
    write_run(folder / "dph" / "scores", "dph-joint", [0, 1], 0.5, reward=0.8, items=20)
    for run, nats in (("none", 2.2), ("lora-8-af-specific", 2.0)):
        write_captioner(folder / "context_peft" / "scores", run, 0, nats, blank=2.6)
    return folder


@pytest.fixture
def results(scored: Path, tmp_path: Path) -> Path:
    """A results folder of one's own."""
    shutil.copytree(scored, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.mark.parametrize("table", ["glue", "gpt4all", "race", "ablations"])
def test_tables_of_dph(results: Path, table: str) -> None:
    folder = results / "dph" / "tables"
    records = tabulate(folder, table, results / "dph" / "scores", "dph", "sft", "dph-joint")
    assert any(record["value"] is not None for record in records)
    assert "data: embedded" in (folder / f"{table}.md").read_text()
    assert (folder / f"{table}.csv").is_file()
    assert (folder / f"{table}.run.json").is_file()
    with (folder / f"{table}.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == len(records)


@pytest.mark.parametrize("table", ["adaptors", "encoders", "parameters"])
def test_tables_of_context_peft(results: Path, table: str) -> None:
    folder = results / "context_peft" / "tables"
    runs = ("none", "lora-8-af-specific")
    records = tabulate(folder, table, results / "context_peft" / "scores", "context_peft", *runs)
    assert any(record["value"] is not None for record in records)
    assert (folder / f"{table}.tex").read_text().startswith(r"\begin{table}")


@pytest.mark.parametrize("table", CAPTIONING_TABLES)
def test_tables_of_captioning_runs(results: Path, table: str) -> None:
    folder = results / "context_peft"
    kinds = {"none": "none", "lora-8-af-specific": "lora"}
    captioners = {run: captioner(kind=kind) for run, kind in kinds.items()}
    captioners["none-fast"] = captioner(kind="none") | {"learning_rate": 1e-3}
    stated = json.loads(settings("context_peft", *captioners)) | {"captioners": captioners}
    records = [str(write_record(folder / "models", "none", 0, images=40))]
    words = ["--table", table, "--scores", str(folder / "scores"), "--records", *records]
    tabulate_captioning.main([*words, *outputs(folder / "tables", table), "--settings", json.dumps(stated)])
    made = json.loads((folder / "tables" / f"{table}.audit.json").read_text())
    assert any(record["value"] is not None for record in made["records"])
    printed = (folder / "tables" / f"{table}.md").read_text()
    assert f"Fingerprint: {made['fingerprint']}." in printed
    validate(made, json.loads((CONFIG / "schemas" / "cell.schema.json").read_text()))
    recorded = json.loads((folder / "tables" / f"{table}.run.json").read_text())["inputs"]
    assert len(recorded["records"]) == 1


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command line's inputs for two runs of everything that the tables of alignments read."""
    folder = tmp_path_factory.mktemp("aligned")
    records = []
    for run, skill in (("sft", 0.2), ("dph-joint", 1.0)):
        write_random_pairs(folder / "scores", run, 0, skill, reward=run != "sft", implicit=run != "sft")
        write_random_drift(folder / "drift", run, 0, 0.0 if run == "sft" else 0.2, 3.0, 20)
        chosen = [answer_rows("cola", f"q-{n}", "+-", [skill, n], n > 1) for n in range(4)]
        write_best_of(folder / "best_of", run, 0, chosen)
        facts = {
            "parameters": 10, "trainable_parameters": 2, "training_seconds": 3, "steps": 4, "examples": 8
        }  # fmt: skip
        records.append(str(write_record(folder / "models", run, 0, **facts)))
    reference = str(write_record(folder / "reference", "sft", 0, wall_seconds=2.5))
    row = {"loss": "dpo", "freeze": "none", "part": "blocks", "norm": 0.5}
    (folder / "gradients.json").write_text(json.dumps([row]))
    keys = ("questions", "same_prompt", "same_prompt_and_answer", "ngram_questions", "shared_ngrams")
    (folder / "overlap.json").write_text(json.dumps({"boolq": dict.fromkeys(keys, 1)}))
    return [
        "--scores", str(folder / "scores"), "--drift", str(folder / "drift"), "--records", *records,
        "--references", reference, "--gradients", str(folder / "gradients.json"), "--overlap", str(folder / "overlap.json"),
        "--claims", str(CONFIG / "claims.tsv"), "--cells", str(CONFIG / "cells.tsv"),
        "--best-of", str(folder / "best_of"),
    ]  # fmt: skip


@pytest.mark.parametrize("table", ALIGNMENT_TABLES)
def test_tables_of_alignments(aligned: list[str], tmp_path: Path, table: str) -> None:
    words = ["--table", table, *aligned, *outputs(tmp_path, table)]
    tabulate_alignment.main([*words, "--settings", settings("dph", "sft", "dph-joint")])
    records = read_records(tmp_path / f"{table}.audit.json")
    # Neither a frozen run nor a reasoning task is among the inputs.
    assert any(record["value"] is not None for record in records) == (
        table not in ("frozen_grid", "reasoning")
    )
    assert {record["table"] for record in records} == {table}
    assert "data: embedded" in (tmp_path / f"{table}.md").read_text()
    assert (tmp_path / f"{table}.tex").read_text().startswith(r"\begin{table}")
    recorded = json.loads((tmp_path / f"{table}.run.json").read_text())["inputs"]
    assert [entry["path"].split("/")[-1] for entry in recorded["overlap"]] == ["external:overlap.json"]
    assert len(recorded["references"]) == 1
    made = json.loads((tmp_path / f"{table}.audit.json").read_text())
    validate(made, json.loads((CONFIG / "schemas" / "cell.schema.json").read_text()))


def test_alignment_tables_need_nothing_but_a_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tabulate_alignment.main(
        ["--table", "baselines", *outputs(tmp_path, "baselines"), "--settings", settings("dph", "sft")]
    )
    assert "Nothing of this table was run at this scale." in (tmp_path / "baselines.md").read_text()
    with pytest.raises(SystemExit):
        tabulate_alignment.main(
            ["--table", "glue", *outputs(tmp_path, "glue"), "--settings", settings("dph", "sft")]
        )
    assert "--table: no table glue: give one of preferences" in capsys.readouterr().err


def test_a_table_of_nothing_says_so(tmp_path: Path) -> None:
    (tmp_path / "scores").mkdir()
    records = tabulate(tmp_path, "race", tmp_path / "scores", "dph", "sft")
    assert {record["verdict"] for record in records} == {"not run at this scale", "cited"}
    assert "Nothing of this table was run at this scale." in (tmp_path / "race.md").read_text()


def test_damaged_scores_and_unknown_tables_end_in_one_sentence(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (results / "dph" / "scores" / "sft" / "seed-0" / "boolq.json").write_text('{"task": ')
    for table, message in (
        ("gpt4all", "boolq.json is empty or damaged"),
        ("glu", "has no table glu"),
        ("reasoning", "has no cell of reasoning: make it with the script that its rule calls"),
    ):
        with pytest.raises(SystemExit):
            tabulate(results / "out", table, results / "dph" / "scores", "dph", "sft")
        error = capsys.readouterr().err
        assert message in error
        assert "Traceback" not in error
        assert not list((results / "out").glob("*.csv"))


def test_claims(results: Path) -> None:
    folder = results / "dph" / "tables"
    words = ["--claims", str(CONFIG / "claims.tsv"), "--scores", str(results / "dph" / "scores")]
    tabulate_claims.main(
        [*words, *outputs(folder, "claims"), "--settings", settings("dph", "sft", "dph-joint")]
    )
    records = {record["id"]: record for record in read_records(folder / "claims.audit.json")}
    assert records["dph-above-sft"]["effect"] == pytest.approx(30)
    assert {record["paper"] for record in records.values()} == {"dph"}
    assert "Claims of the DPH paper" in (folder / "claims.md").read_text()


def test_publishing_copies_small_files_and_fills_the_readme(results: Path) -> None:
    tabulate(results / "dph" / "tables", "race", results / "dph" / "scores", "dph", "sft", "dph-joint")
    (results / "dph" / "models").mkdir()
    (results / "dph" / "models" / "weights.safetensors").write_bytes(b"0")
    readme = results / "README.md"
    readme.write_text("# Top\n<!-- generated:dph/race -->\nold\n<!-- /generated -->\nend\n")
    words = [
        "--results",
        str(results),
        "--destination",
        str(results / "published" / "demo"),
        "--page",
        str(readme),
    ]
    export_published.main(words)
    first = readme.read_text()
    assert first.startswith("# Top\n<!-- generated:dph/race -->\n\n**RACE (DPH paper)**")
    assert first.endswith("<!-- /generated -->\nend\n")
    assert "old" not in first
    published = {path.name for path in (results / "published").rglob("*") if path.is_file()}
    assert {"race.md", "race.csv", "race.audit.json", "race.run.json", "run.json", "boolq.json"} <= published
    assert "boolq.parquet" in published and "weights.safetensors" not in published
    export_published.main(words)
    assert readme.read_text() == first


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- generated:dph/rice -->\n<!-- /generated -->\n", "line 1: no table dph/rice"),
        ("<!-- generated:dph/race -->\n", "is not closed"),
        ("<!-- /generated -->\n", "line 1: markers must come in pairs"),
    ],
)
def test_bad_markers_are_named_and_nothing_changes(
    results: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    tabulate(results / "dph" / "tables", "race", results / "dph" / "scores", "dph", "sft")
    readme = results / "README.md"
    readme.write_text(text)
    words = ["--results", str(results), "--destination", str(results / "published"), "--page", str(readme)]
    with pytest.raises(SystemExit):
        export_published.main(words)
    assert message in capsys.readouterr().err
    assert readme.read_text() == text
    assert not (results / "published").exists()


def test_costs_of_captioners(tmp_path: Path) -> None:
    """From the folder of a training and the record beside its captions."""
    folder, captions = (
        tmp_path / "models" / "none" / "seed-0",
        tmp_path / "captions" / "none" / "seed-0.jsonl",
    )
    folder.mkdir(parents=True)
    captions.parent.mkdir(parents=True)
    captions.write_text("")
    for path in (folder / "run.json", captions.with_suffix(".run.json")):
        path.write_text(
            json.dumps({"facts": {"training_seconds": 3, "memory": {"decoding": {"peak": 2e6}}}, "time": {}})
        )
    words = ["--models", str(folder), "--captions", str(captions), *outputs(tmp_path, "costs")]
    tabulate_costs.main([*words, "--settings", settings("context_peft", "none")])
    made = json.loads((tmp_path / "costs.audit.json").read_text())
    records = {record["column"]: record for record in made["records"]}
    assert (records["training time (s)"]["value"], records["peak of decoding"]["value"]) == (3, 2)
    assert "not measured" in (tmp_path / "costs.md").read_text()
    validate(made, json.loads((CONFIG / "schemas" / "cell.schema.json").read_text()))

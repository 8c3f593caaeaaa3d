"""The whole workflow, from generated rows to the report, on tiny random models."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from preftune.files import read_json, read_jsonl, sha256_file
from tests.e2e.conftest import run_workflow
from tests.e2e.tiny_models import ROOT

RESULTS = ROOT / "results" / "miniature"


def test_makes_every_table_figure_and_the_report(finished: subprocess.CompletedProcess[str]) -> None:
    from preftune.workflow.plan import FIGURES, TABLES

    for paper, tables in TABLES.items():
        for table in tables:
            for kind in ("csv", "md", "tex", "audit.json"):
                assert (RESULTS / paper / "tables" / f"{table}.{kind}").stat().st_size > 0
        for figure in FIGURES[paper]:
            assert (RESULTS / paper / "figures" / f"{figure}.png").stat().st_size > 1000
    assert "report:" in finished.stderr
    assert "<table" in (RESULTS / "report.html").read_text()
    for score in ("log", "reward"):
        assert (RESULTS / f"dph/submission/dph-joint/seed-0/submission-{score}.zip").is_file()


def test_one_line_a_finished_step_and_nothing_else_of_snakemake(
    finished: subprocess.CompletedProcess[str],
) -> None:
    output = finished.stdout + finished.stderr
    assert output.count("done   train_") == 9
    assert "Execute 1 jobs" not in output


def test_every_output_has_a_valid_record_with_true_hashes(finished: subprocess.CompletedProcess[str]) -> None:
    schema = json.loads((ROOT / "config/schemas/run.schema.json").read_text())
    records = [*RESULTS.rglob("run.json"), *RESULTS.rglob("*.run.json")]
    assert len(records) > 35
    for path in records:
        record = json.loads(path.read_text())
        jsonschema.validate(record, schema)
        assert str(ROOT) not in path.read_text()
        for output in record["outputs"].values():
            for name, digest in output["files"].items():
                assert sha256_file(ROOT / output["path"] / name) == digest, f"{output['path']}/{name}"


def test_image_files_are_captioned_as_in_the_workflow(finished: subprocess.CompletedProcess[str]) -> None:
    folder = RESULTS / "context_peft"
    rows = read_jsonl(folder / "captions/lora-8-af-specific/seed-0.jsonl")
    raw = ROOT / read_json(folder / "features/tiny-encoder/run.json")["inputs"]["raw"][0]["path"]
    images = [str(raw / row["file"]) for row in rows]
    words = [str(folder / "models/lora-8-af-specific/seed-0"), *images, "--max-new-tokens", "6"]
    done = subprocess.run(
        [sys.executable, "-m", "preftune", "caption", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = [f"{image}\t{row['caption']}" for image, row in zip(images, rows, strict=True)]
    assert done.stdout.splitlines() == told


def test_cells_and_claims_follow_their_schemas(finished: subprocess.CompletedProcess[str]) -> None:
    for path in RESULTS.rglob("tables/*.audit.json"):
        kind = "claim" if path.name.startswith("claims.") else "cell"
        schema = json.loads((ROOT / f"config/schemas/{kind}.schema.json").read_text())
        records = json.loads(path.read_text())
        jsonschema.validate(records, schema)


def test_records_form_a_chain_to_the_fetched_model(finished: subprocess.CompletedProcess[str]) -> None:
    record = json.loads((RESULTS / "dph/scores/dph-joint/seed-0/run.json").read_text())
    model = record["inputs"]["model"][0]
    assert model["record_sha256"] == sha256_file(ROOT / model["path"] / "run.json")
    parents = json.loads((ROOT / model["path"] / "run.json").read_text())["inputs"]
    assert {"base", "model", "data", "reference"} <= set(parents)


def test_tables_say_where_their_data_come_from(finished: subprocess.CompletedProcess[str]) -> None:
    for path in RESULTS.rglob("tables/*.md"):
        record = read_json(path.with_suffix(".run.json"))
        assert "embedded" in path.read_text() and record["fingerprint"] in path.read_text(), path
    rows = list(csv.DictReader((RESULTS / "dph/tables/race.csv").open()))
    assert rows


def test_a_second_run_has_nothing_to_do(finished: subprocess.CompletedProcess[str]) -> None:
    again = run_workflow()
    assert again.returncode == 0
    assert "Nothing to be done" in again.stdout + again.stderr
    assert "done   " not in again.stderr


def test_lost_outputs_are_made_again_alone(finished: subprocess.CompletedProcess[str]) -> None:
    table = RESULTS / "dph/tables/race.md"
    before = table.read_bytes()
    table.unlink()
    again = run_workflow("--config", "only={tables: race}")
    assert again.returncode == 0, again.stderr[-3000:]
    assert table.read_bytes() == before
    assert again.stderr.count("done   ") == 1


def test_a_failing_step_prints_its_log_and_loses_nothing(finished: subprocess.CompletedProcess[str]) -> None:
    scores = RESULTS / "dph/scores/base/seed-0/race-middle.json"
    good = scores.read_bytes()
    table = RESULTS / "dph/tables/race.md"
    try:
        scores.write_text("{ damaged")
        table.unlink()
        failed = run_workflow("--config", "only={tables: race}")
        assert failed.returncode != 0
        assert "race-middle.json" in failed.stderr and "logs/tabulate_scores/dph/race.log" in failed.stderr
        assert (RESULTS / "dph/tables/glue.md").is_file()
    finally:
        scores.write_bytes(good)
    assert run_workflow("--config", "only={tables: race}").returncode == 0


def test_two_at_once_are_refused(finished: subprocess.CompletedProcess[str]) -> None:
    from preftune.files import hold_lock
    from preftune.workflow.locks import BUSY, LOCK

    with hold_lock(LOCK, "1", BUSY):
        second = run_workflow()
    assert second.returncode == 1
    assert "Another run is working in this checkout" in second.stderr


@pytest.mark.parametrize("name", ["sft", "dph-joint"])
def test_training_left_its_curve(finished: subprocess.CompletedProcess[str], name: str) -> None:
    lines = Path(RESULTS / f"dph/models/{name}/seed-0/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3]

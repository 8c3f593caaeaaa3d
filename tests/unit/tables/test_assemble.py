import json
from pathlib import Path

import numpy as np
import pytest

from preftune.errors import PreftuneError
from preftune.evaluation.metrics import compute_metrics
from preftune.tables.assemble import Setting, build_records, judge
from preftune.tables.cells import NOT_RUN, CellRecord, read_cells
from preftune.tables.lists import ablation_records
from preftune.tables.render import describe, render_csv, render_latex, render_markdown
from preftune.tables.scores import ScoreStore
from tests.unit.tables.score_folders import (
    TASKS,
    candidates,
    flips,
    metrics_of,
    write_captioner,
    write_run,
    write_task,
)

CELLS = read_cells(Path(__file__).parents[3] / "config" / "cells.tsv")
DEMO, PAPER = Setting("demo", "embedded"), Setting("paper", "real (hub)")


def table(name: str, root: Path, setting: Setting = DEMO) -> dict[tuple[str, str], CellRecord]:
    cells = [cell for cell in CELLS if cell.table == name]
    records = build_records(cells, ScoreStore([root]), setting)
    return {(record.row, record.column): record for record in records}


@pytest.mark.parametrize("task", ["cola", "mrpc", "stsb", "boolq"])
def test_synthetic_scores_are_those_of_the_evaluation(task: str) -> None:
    correct = flips(18, 0.5, 7)
    expected = compute_metrics(candidates(task, correct, None), TASKS[task][2], "log")
    assert metrics_of(task, correct) == pytest.approx(expected)


def test_cells_show_the_named_score_with_interval_and_n(tmp_path: Path) -> None:
    write_run(tmp_path, "sft", [0], 0.5)
    write_run(tmp_path, "dph-joint", [0, 1], 0.6, reward=0.8)
    cells = table("gpt4all", tmp_path)
    log, reward = cells["Ours (DPO)", "BoolQ"], cells["Ours (DPH)", "BoolQ"]
    assert (log.value, reward.value) == (pytest.approx(60), pytest.approx(80))
    assert reward.interval is not None
    assert reward.interval[0] < 80 < reward.interval[1]
    assert (reward.n_seeds, reward.n_items, set(reward.per_seed)) == (2, 40, {"0", "1"})
    assert reward.interval_method == "bootstrap over items and 2 seeds"
    assert reward.verdict == "not comparable: demo scale, data embedded"
    average = cells["Ours (DPH)", "Avg"]
    assert average.value == pytest.approx(80)
    assert average.interval is not None
    assert average.interval[1] - average.interval[0] < reward.interval[1] - reward.interval[0]
    assert len(reward.score_files) == 2
    assert cells["Ours (Vocab)", "BoolQ"].verdict == NOT_RUN
    assert cells["Pythia-1.0B", "BoolQ"].verdict == "cited"


@pytest.mark.parametrize(
    ("seeds", "expected"),
    [
        ([(1, "sft"), (1, "dph-joint")], "over items"),
        ([(1, "sft"), (2, "dph-joint")], "over items and, where there are several, seeds"),
        ([(1, "sft"), (3, "dph-joint")], "over items, or over seeds where there are three or more"),
        ([(3, "sft"), (3, "dph-joint")], "over seeds where there are three or more"),
    ],
)
def test_a_table_says_what_its_intervals_are_over(
    tmp_path: Path, seeds: list[tuple[int, str]], expected: str
) -> None:
    for count, run in seeds:
        write_run(tmp_path, run, list(range(count)), 0.5, reward=0.5)
    records = build_records([cell for cell in CELLS if cell.table == "race"], ScoreStore([tmp_path]), DEMO)
    (line,) = [one for one in describe("race", records, DEMO) if one.startswith("±")]
    assert line == f"± is half the 95 % interval, {expected}."


def test_three_seeds_give_a_t_interval(tmp_path: Path) -> None:
    for seed, right in enumerate((20, 24, 28)):
        write_task(tmp_path, "sft", seed, "boolq", [item < right for item in range(40)])
    cell = table("gpt4all", tmp_path)["Ours (SFT)", "BoolQ"]
    assert cell.interval_method == "t over 3 seeds"
    assert cell.interval == pytest.approx((60 - 24.84138, 60 + 24.84138))


def test_average_lacks_a_task_that_was_not_scored(tmp_path: Path) -> None:
    write_task(tmp_path, "sft", 0, "boolq", [True, False])
    cell = table("gpt4all", tmp_path)["Ours (SFT)", "Avg"]
    assert (cell.value, cell.verdict) == (None, NOT_RUN)
    assert "HellaSwag" in cell.reason


def test_race_average_is_weighted_by_questions(tmp_path: Path) -> None:
    write_task(tmp_path, "sft", 0, "race-middle", [True] * 10)
    write_task(tmp_path, "sft", 0, "race-high", [False] * 30)
    assert table("race", tmp_path)["Ours (SFT)", "Avg"].value == pytest.approx(25)


def test_glue_metrics_are_those_of_the_registry(tmp_path: Path) -> None:
    write_run(tmp_path, "sft", [0], 0.75)
    cells = table("glue", tmp_path)
    assert cells["Ours (SFT)", "CoLA"].metric == "matthews"
    assert cells["Ours (SFT)", "MRPC F1"].value != cells["Ours (SFT)", "MRPC Acc"].value
    assert cells["Ours (SFT)", "STS-B P"].interval is not None


def test_a_constant_prediction_is_said_to_be_undefined(tmp_path: Path) -> None:
    path = write_task(tmp_path, "sft", 0, "stsb", [True, False] * 6)
    record = json.loads(path.read_text())
    record["metrics"]["log"] = {"pearson": None, "spearman": None}
    path.write_text(json.dumps(record))
    path.with_suffix(".parquet").unlink()
    cell = table("glue", tmp_path)["Ours (SFT)", "STS-B P"]
    assert (cell.value, cell.interval) == (0, None)
    assert "undefined" in cell.aggregation


def test_verdicts_at_the_papers_scale(tmp_path: Path) -> None:
    write_run(tmp_path, "sft", [0], 0.4, items=200)
    cells = table("gpt4all", tmp_path, PAPER)
    assert cells["Ours (SFT)", "HellaSwag"].verdict == "reproduced"  # 40.0, published 42.59, interval +-7
    assert cells["Ours (SFT)", "BoolQ"].verdict == "differs"
    assert "-36.2" in cells["Ours (SFT)", "BoolQ"].reason
    glue = table("glue", tmp_path, PAPER)
    assert glue["Ours (SFT)", "CoLA"].verdict == "not comparable: scored on validation, published on test"


def test_perplexities_differences_and_parameters(tmp_path: Path) -> None:
    write_captioner(tmp_path, "lora-8-af-agnostic", 0, nats=2.0, blank=2.5)
    write_captioner(tmp_path, "lora-8-af-specific", 0, nats=1.9, blank=2.5, parameters=2000)
    cells = table("adaptors", tmp_path)
    difference = cells["LoRA-8", "AF difference"]
    assert difference.value == pytest.approx(np.exp(1.9) - np.exp(2.0), rel=0.05)
    assert difference.interval is not None
    assert difference.interval[1] < 0
    assert cells["LoRA-8", "A specific"].verdict == NOT_RUN
    assert cells["LoRA-8", "AF agnostic"].split == "validation"
    counts = table("parameters", tmp_path)
    assert counts["Full FT", "agnostic"].value == 153_196_032
    assert {counts[key].verdict for key in counts if key[1] == "specific"} == {"reproduced"}
    assert counts["LoRA-8", "specific, LM of this run"].value == 2000


def test_ablations(tmp_path: Path) -> None:
    write_run(tmp_path, "dph-joint", [0], 0.5, reward=0.75)
    store = ScoreStore([tmp_path])
    rows = ablation_records(["dph-joint", "absent"], store, DEMO)
    found = {(r.row, r.column): r for r in rows}
    assert found["dph-joint (reward)", "All tasks"].value == pytest.approx(75)
    assert found["dph-joint (log)", "RACE"].value == pytest.approx(50)
    assert found["absent (log)", "GLUE"].verdict == NOT_RUN
    assert ("absent (reward)", "GLUE") not in found


@pytest.mark.parametrize(("value", "verdict"), [(42.68, "reproduced"), (42.70, "differs"), (43.5, "differs")])
def test_a_released_model_must_give_the_published_number(value: float, verdict: str) -> None:
    """Published: 42.59. Neither the row's own tolerance of a point nor an interval that holds the number helps."""
    cell = next(one for one in CELLS if one.table == "gpt4all" and one.published == "42.59")
    released = Setting("released", "real (hub)", tolerance=0.1)
    assert judge(cell, value, (40.0, 45.0), cell.split, released, "")[0] == verdict
    assert judge(cell, value, (40.0, 45.0), cell.split, PAPER, "")[0] == "reproduced"
    embedded = Setting("released", "embedded", tolerance=0.1)
    assert judge(cell, value, None, cell.split, embedded, "")[0].startswith("not comparable")


def test_rendered_tables_say_what_they_are(tmp_path: Path) -> None:
    write_run(tmp_path, "sft", [0], 0.5)
    records = list(table("gpt4all", tmp_path).values())
    text = render_markdown("gpt4all", records, DEMO)
    assert "data: embedded · scale: demo · not comparable with the paper (demo scale, data embedded)" in text
    assert "| Ours (Vocab) | not run at this scale<br>(36.93) |" in text
    assert "| Pythia-1.0B | (47.16) |" in text
    assert "50.0 ± " in text
    assert "n of a cell: 40 to 280 items; seeds: 1." in text
    csv = render_csv(records, DEMO).splitlines()
    assert len(csv) == 65
    assert csv[1].endswith("demo,embedded")
    latex = render_latex("gpt4all", records, DEMO)
    assert latex.count(r"\\") == 9
    assert r"$\pm$" in latex


def test_damaged_scores_are_one_sentence(tmp_path: Path) -> None:
    path = write_task(tmp_path, "sft", 0, "boolq", [True, False])
    good = path.read_text()
    for text in ("", "{", "[]"):
        path.write_text(text)
        with pytest.raises(PreftuneError, match=r"boolq\.json .*run the evaluation again\.$"):
            table("gpt4all", tmp_path)
    path.write_text(good)
    path.with_suffix(".parquet").write_bytes(b"PAR1")
    with pytest.raises(PreftuneError, match=r"boolq\.parquet is empty or damaged"):
        table("gpt4all", tmp_path)


def test_metrics_that_their_items_do_not_give_are_refused(tmp_path: Path) -> None:
    path = write_task(tmp_path, "sft", 0, "boolq", [True, False])
    path.write_text(path.read_text().replace("0.5", "0.9"))
    with pytest.raises(PreftuneError, match=r"accuracy is 0\.9000 but its items give 0\.5000"):
        table("gpt4all", tmp_path)


def test_only_the_runs_of_the_scale_are_read(tmp_path: Path) -> None:
    write_task(tmp_path, "sft", 0, "boolq", [True, False])
    assert ScoreStore([tmp_path], ["base"]).runs() == set()
    files = sorted((tmp_path / "sft" / "seed-0").glob("*.json"))
    assert ScoreStore(files, ["sft"]).seeds("sft", "boolq") == [0]

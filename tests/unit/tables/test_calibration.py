"""The table of calibration, against predictions worked out by hand."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from preftune.errors import PreftuneError
from preftune.stats.calibration import TEMPERATURES, assess_reliability, fit_temperature, split_halves
from preftune.tables.alignment import alignment_records
from preftune.tables.assemble import Setting
from preftune.tables.cells import NOT_RUN, CellRecord
from preftune.tables.notes import NOTES
from preftune.tables.render import render_latex, render_markdown
from preftune.tables.settings import AlignmentTableSettings
from preftune.tables.sources import Sources
from tests.unit.tables.alignment_folders import write_binary, write_questions

DEMO = Setting("demo", "embedded")
FACTS = {"policy": "none", "pooler": "bert", "label_smoothing": 0.1, "freeze": "none"}
LN3 = math.log(3)


def calibration(root: Path, **losses: str) -> dict[tuple[str, str], CellRecord]:
    """Cells of runs with these losses."""
    runs = {run.replace("_", "-"): loss for run, loss in losses.items()}
    known: dict[str, Any] = {run: {**FACTS, "dph": loss} for run, loss in runs.items() if loss}
    given = AlignmentTableSettings.model_validate(
        {"paper": "dph", "scale": "demo", "data": "embedded", "runs": tuple(runs), "settings": known}
    )
    records = alignment_records("calibration", Sources.read(given.runs, [root]), given)
    return {(record.row, record.column): record for record in records}


def write_rewards(
    root: Path, run: str, rewards: list[list[float]], gold: list[int], task: str = "ultrafeedback",
    suite: str = "preference", seed: int = 0,
) -> Path:  # fmt: skip
    scores = {"log": np.zeros((len(gold), len(rewards[0]))), "reward": np.array(rewards)}
    return write_questions(root, run, seed, task, suite, "wxyz"[: len(rewards[0])], gold, scores)


def test_predictions_of_held_out_pairs(tmp_path: Path) -> None:
    """Three pairs at odds of 3 to 1, two of them right; at half the margin the odds are sqrt(3) to 1."""
    write_rewards(tmp_path, "dph-joint", [[LN3, 0], [0, LN3], [LN3, 0]], [0, 1, 1])
    found = calibration(tmp_path, dph_joint="separable")
    values = {key: cell.value for key, cell in found.items() if key[1].startswith("pairs")}
    assert values["dph-joint, σ(δ)", "pairs, n"] == 3
    assert values["dph-joint, σ(δ)", "pairs, accuracy"] == pytest.approx(200 / 3)
    assert values["dph-joint, σ(δ)", "pairs, Brier"] == pytest.approx((2 / 16 + 9 / 16) / 3)
    assert values["dph-joint, σ(δ)", "pairs, log loss"] == pytest.approx(
        (2 * math.log(4 / 3) + math.log(4)) / 3
    )
    # Of the first answers 0.75, 0.25 and 0.75 win: bins of gaps -0.25 + 0.75 and 0.25.
    assert values["dph-joint, σ(δ)", "pairs, ECE"] == pytest.approx((0.5 + 0.25) / 3)
    half = 1 / (1 + math.sqrt(3))
    assert values["dph-joint, σ(δ/2)", "pairs, Brier"] == pytest.approx((2 * half**2 + (1 - half) ** 2) / 3)
    assert values["dph-joint, σ(δ)", "pairs, T"] is None
    assert found["dph-joint, σ(δ)", "pairs, T"].verdict == "not applicable"
    assert found["dph-joint, σ(δ)", "pairs, Brier"].interval is not None
    assert found["dph-joint, σ(δ)", "pairs, n"].interval is None
    assert found["dph-joint, σ(δ)", "choice, Brier"].verdict == NOT_RUN


def test_choice_tasks_are_pairs_of_gold_and_wrong_resampled_by_question(tmp_path: Path) -> None:
    """One question of three candidates (2 pairs), two of two: 4 pairs in all, each counting alike."""
    write_rewards(tmp_path, "dph-only", [[1.0, 3.0, 2.0]], [1], "arc-easy", "gpt4all")
    write_rewards(tmp_path, "dph-only", [[0.0, 0.0], [2.0, 0.0]], [0, 1], "rte", "glue")
    write_rewards(tmp_path, "dph-only", [[9.0, 0.0]], [0], "gsm8k", "reasoning")
    found = calibration(tmp_path, dph_only="contrastive")
    assert ("dph-only, σ(δ/2)", "choice, n") not in found
    accuracy, brier, count = (
        found["dph-only, σ(δ)", f"choice, {name}"] for name in ("accuracy", "Brier", "n")
    )
    assert (count.value, accuracy.n_items, len(accuracy.score_files)) == (4, 3, 2)
    assert accuracy.value == pytest.approx(100 * (1 + 1 + 0.5 + 0) / 4)
    margins = np.array([2.0, 1.0, 0.0, -2.0])
    assert brier.value == pytest.approx(np.mean(expit(-margins) ** 2))
    # arc-easy has one question, which every resample draws with both of its pairs.
    assert accuracy.interval == pytest.approx((50, 75))
    observed = np.array([0.0, 1.0, 1.0, 0.0])
    predicted = expit(np.array([-2.0, 1.0, 0.0, 2.0]))
    ece = found["dph-only, σ(δ)", "choice, ECE"].value
    assert ece == pytest.approx(assess_reliability(predicted, observed).ece)


def test_tasks_whose_answers_are_grades_have_no_pairs(tmp_path: Path) -> None:
    write_rewards(tmp_path, "own", [[1.0, 0.0]], [0], "rte", "glue")
    write_rewards(tmp_path, "own", [[0.0, 1.0]], [0], "stsb", "glue")
    found = calibration(tmp_path, own="")
    assert (found["own, σ(δ)", "choice, n"].value, found["own, σ(δ)", "choice, accuracy"].value) == (1, 100)
    assert "Choice tasks are without STS-B" in NOTES["calibration"]


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_calibration_error_has_no_interval(tmp_path: Path, seeds: int) -> None:
    """A bootstrap adds its own noise to every bin, and all seeds err the same way: neither holds the error of perfect odds."""
    generator = np.random.default_rng(0)
    margins = generator.normal(0, 2, 60)
    gold = (generator.random(60) >= expit(margins)).astype(int).tolist()
    for seed in range(seeds):
        noise = 0.1 * generator.normal(size=60)
        write_rewards(tmp_path, "own", [[margin, 0.0] for margin in margins + noise], gold, seed=seed)
    found = calibration(tmp_path, own="")
    for row in ("own, σ(δ)", "own, σ(δ/T)"):
        error = found[row, "pairs, ECE"]
        assert (error.interval, error.interval_method, error.n_seeds) == (None, "none: not resampled", seeds)
        assert found[row, "pairs, Brier"].interval is not None
    assert "ECE has no interval" in NOTES["calibration"]


def test_temperature_predicts_the_half_that_did_not_fit_it(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    margins = generator.normal(0, 4, 40)
    gold = (generator.random(40) >= expit(margins / 4)).astype(int)
    write_rewards(tmp_path, "bradley-terry", [[margin, 0.0] for margin in margins], gold.tolist())
    found = calibration(tmp_path, bradley_terry="contrastive")
    signed = np.where(gold == 0, margins, -margins)
    half = split_halves("pairs", 40)
    first, second = fit_temperature(signed[~half]), fit_temperature(signed[half])
    scaled = signed / np.where(half, first, second)
    row = "bradley-terry, σ(δ/T)"
    assert found[row, "pairs, T"].value == pytest.approx(math.sqrt(first * second))
    assert found[row, "pairs, Brier"].value == pytest.approx(np.mean(expit(-scaled) ** 2))
    whole = found["bradley-terry, σ(δ)", "pairs, Brier"].value
    assert whole is not None and found[row, "pairs, Brier"].value < whole
    low, high = (f"{bound:g}" for bound in TEMPERATURES)
    assert f"between {low} and {high}" in NOTES["calibration"]


def test_seeds_are_averaged_and_one_question_has_no_halves(tmp_path: Path) -> None:
    for seed, margin in ((0, LN3), (1, -LN3)):
        write_rewards(tmp_path, "dph-joint", [[margin, 0.0]], [0], seed=seed)
    found = calibration(tmp_path, dph_joint="contrastive")
    brier = found["dph-joint, σ(δ)", "pairs, Brier"]
    assert brier.per_seed == pytest.approx({"0": 1 / 16, "1": 9 / 16})
    assert brier.interval_method == "bootstrap over items and 2 seeds"
    assert brier.interval == pytest.approx((1 / 16, 9 / 16))
    assert found["dph-joint, σ(δ/T)", "pairs, Brier"].verdict == "not applicable"


def test_rows_are_those_of_runs_with_a_head(tmp_path: Path) -> None:
    write_binary(tmp_path, "sft", 0, "ultrafeedback", "preference", {"log": [True, False]})
    write_rewards(tmp_path, "own", [[1.0, 0.0], [1.0, 0.0]], [0, 0])
    found = calibration(tmp_path, sft="", dpo_only="none", own="", dph_joint="separable")
    predictions = ("σ(δ)", "σ(δ/2)", "σ(δ/T)")
    expected = [f"own, {one}" for one in (predictions[0], predictions[2])]
    expected += [f"dph-joint, {one}" for one in predictions]
    assert list(dict.fromkeys(row for row, _ in found)) == expected
    assert found["dph-joint, σ(δ)", "pairs, Brier"].verdict == NOT_RUN
    text = render_markdown("calibration", list(found.values()), DEMO)
    assert "| Run, prediction | pairs, n | pairs, accuracy | pairs, Brier |" in text
    assert "Brier score of 0.25 and a log loss of 0.693" in text
    assert render_latex("calibration", list(found.values()), DEMO).isascii()


def test_faulty_rewards_are_named(tmp_path: Path) -> None:
    path = write_rewards(tmp_path, "own", [[1.0, 0.0], [1.0, 0.0]], [0, 0])
    items = path.with_suffix(".parquet")
    frame = pd.read_parquet(items)
    frame.assign(reward=math.nan).to_parquet(items)
    with pytest.raises(
        PreftuneError, match=r"ultrafeedback\.parquet: the reward score of row 1 is not a number"
    ):
        calibration(tmp_path, own="")
    frame.assign(reward=math.inf).to_parquet(items)
    with pytest.raises(PreftuneError, match=r"ultrafeedback\.json: a reward score is not finite"):
        calibration(tmp_path, own="")
    for gold in (False, True):
        frame.assign(is_gold=gold).to_parquet(items)
        with pytest.raises(
            PreftuneError, match=r"ultrafeedback\.json: a question has not one gold answer and another one"
        ):
            calibration(tmp_path, own="")
    items.unlink()
    with pytest.raises(PreftuneError, match="has no items beside it"):
        calibration(tmp_path, own="")


def test_seeds_with_different_questions_are_refused(tmp_path: Path) -> None:
    write_rewards(tmp_path, "own", [[1.0, 0.0]], [0])
    write_rewards(tmp_path, "own", [[1.0, 0.0], [1.0, 0.0]], [0, 0], seed=1)
    with pytest.raises(PreftuneError, match="the seeds of own answered different questions of ultrafeedback"):
        calibration(tmp_path, own="")

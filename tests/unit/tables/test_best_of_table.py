"""The table of reward-chosen answers, against numbers worked out by hand."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from preftune.errors import PreftuneError
from preftune.tables.alignment import alignment_records
from preftune.tables.assemble import Setting
from preftune.tables.best_of import measure_choices
from preftune.tables.cells import CellRecord
from preftune.tables.render import render_markdown
from preftune.tables.scores import ScoreStore
from preftune.tables.settings import AlignmentTableSettings
from preftune.tables.sources import Sources
from tests.unit.tables.alignment_folders import answer_rows, write_best_of


def records_of(folder: Path, *runs: str) -> dict[tuple[str, str], CellRecord]:
    settings = AlignmentTableSettings(paper="dph", scale="demo", data="embedded", runs=runs)
    sources = Sources.read(runs, best_of=[folder])
    return {(record.row, record.column): record for record in alignment_records("best_of", sources, settings)}


def two_tasks() -> list[pd.DataFrame]:
    """cola: random 1/4, greedy 0, reward 1/2, any 1/2; boolq, one question: random 1/2, greedy 1, reward 0, any 1."""
    return [
        answer_rows("cola", "q-0", "+-", [2.0, 1.0], greedy=False),
        answer_rows("cola", "q-1", "--", [0.0, 1.0], greedy=False),
        answer_rows("boolq", "q-0", "+-", [1.0, 2.0], greedy=True),
    ]


def test_shares_are_means_over_tasks(tmp_path: Path) -> None:
    write_best_of(tmp_path, "dph-joint", 0, two_tasks())
    found = records_of(tmp_path, "sft", "dph-joint")
    assert {row for row, _ in found} == {"dph-joint, n = 2"}
    assert {column: record.value for (_, column), record in found.items() if record.value is not None} == pytest.approx(
        {
            "random": 37.5, "greedy": 50, "reward": 25, "log": 25, "any of n": 75, "samples disagree": 75,
            "reward − random": -12.5, "reward − greedy": -25, "reward − log": 0,
        }
    )  # fmt: skip
    assert found["dph-joint, n = 2", "implicit"].reason == "dph-joint has no implicit score of answers"
    assert {record.n_items for record in found.values() if record.value is not None} == {3}
    assert found["dph-joint, n = 2", "reward − random"].unit == "points"
    text = render_markdown("best_of", list(found.values()), Setting("demo", "embedded"))
    assert "n of a cell: 3 items; seeds: 1." in text and "Best of n" in text
    assert "Prompts" not in text
    for reason in ("long_answer", "long_prompt", "not_distinct"):
        assert f"({reason})" in text
    assert "best_of.json" in text


def test_the_prompts_of_the_answers_are_stated(tmp_path: Path) -> None:
    path = write_best_of(tmp_path, "dph-joint", 0, two_tasks())
    stated = {"name": "chat", "sha256": "ab" * 32}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"templates": stated}))
    found = records_of(tmp_path, "dph-joint")
    assert all(record.templates == (stated,) for record in found.values() if record.value is not None)
    text = render_markdown("best_of", list(found.values()), Setting("demo", "embedded"))
    assert "Prompts: chat (abababab)." in text


def test_differences_are_paired_over_questions_and_seeds(tmp_path: Path) -> None:
    """The reward chooses rightly wherever it can: the difference is the same on every question of rte, so its interval has the
    width that cola alone gives it.
    """
    for seed in range(3):
        answers = [
            answer_rows("cola", f"q-{n}", "+-" if n % 2 else "--", [1.0, 0.0], False) for n in range(20)
        ]
        answers += [answer_rows("rte", f"q-{n}", "+-", [1.0, 0.0], False) for n in range(20)]
        write_best_of(tmp_path, "dph-frozen", seed, answers)
    measures = measure_choices(ScoreStore([tmp_path]), "dph-frozen")
    assert measures["reward@2"].replicates is not None and measures["reward@2"].replicates.std() > 0.01
    found = records_of(tmp_path, "dph-frozen")
    difference = found["dph-frozen, n = 2", "reward − random"]
    assert difference.value == pytest.approx(37.5)
    assert difference.interval_method == "bootstrap over items and 3 seeds"
    assert difference.interval is not None and difference.interval[0] < 37.5 < difference.interval[1]
    paired = measures["reward@2"].replicates - measures["random"].replicates
    assert difference.interval == pytest.approx(tuple(100 * np.percentile(paired, [2.5, 97.5])))
    # On rte every question gives 1/2, so only the questions of cola vary: 1/2 or 0 with a mean of 1/4.
    assert paired.std() == pytest.approx(0.25 / np.sqrt(20) / 2, rel=0.1)
    assert found["dph-frozen, n = 2", "greedy"].interval == pytest.approx((0, 0))


def test_files_that_contradict_themselves_or_each_other_are_named(tmp_path: Path) -> None:
    path = write_best_of(tmp_path, "dph-joint", 0, two_tasks())
    path.write_text(path.read_text().replace('"random": 0.25', '"random": 0.5'))
    with pytest.raises(
        PreftuneError, match=r"best_of\.json: what it states of cola is not what its answers give"
    ):
        records_of(tmp_path, "dph-joint")
    write_best_of(tmp_path, "dph-joint", 0, two_tasks())
    write_best_of(tmp_path, "dph-joint", 1, two_tasks()[1:])
    with pytest.raises(PreftuneError, match="the seeds of dph-joint answered different questions"):
        records_of(tmp_path, "dph-joint")
    (tmp_path / "dph-joint" / "seed-0" / "best_of.parquet").unlink()
    with pytest.raises(PreftuneError, match="has no answers beside it"):
        records_of(tmp_path, "dph-joint")


def test_every_number_of_samples_has_a_row_and_each_score_a_column(tmp_path: Path) -> None:
    """Of four samples - + - +: the reward ranks the right ones first, the log score last, the implicit reward as they come."""
    rows = [
        answer_rows("cola", f"q-{n}", "-+-+", [0, 3, 1, 2], False, [3, 0, 2, 1], [4, 3, 2, 1])
        for n in range(3)
    ]
    write_best_of(tmp_path, "dph-joint", 0, rows)
    found = {place: record.value for place, record in records_of(tmp_path, "dph-joint").items()}
    assert sorted({row for row, _ in found}) == ["dph-joint, n = 2", "dph-joint, n = 4"]
    assert found["dph-joint, n = 4", "reward"] == 100 and found["dph-joint, n = 4", "log"] == 0
    assert found["dph-joint, n = 2", "reward"] == pytest.approx(100 * 5 / 6)
    assert found["dph-joint, n = 2", "log"] == pytest.approx(100 / 6)
    assert found["dph-joint, n = 2", "implicit"] == pytest.approx(
        100 * 2 / 6
    )  # the pairs with the second first, and the last pair
    assert found["dph-joint, n = 2", "any of n"] == pytest.approx(100 * 5 / 6)
    assert found["dph-joint, n = 4", "reward − log"] == 100

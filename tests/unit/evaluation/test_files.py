"""Score folders: what is written, what is read back, and implicit rewards against another folder."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from preftune.data.tasks.registry import find_tasks
from preftune.data.templates import read_templates
from preftune.errors import PreftuneError
from preftune.evaluation.files import check_wording, log_ratios, read_counts, read_scores, write_scores
from preftune.files import read_json

NAN = float("nan")


def make_table(**changes: list[float]) -> pd.DataFrame:
    """Two documents of two candidates; `no` is right in the first, `yes` in the second."""
    columns = {
        "document": ["a", "a", "b", "b"],
        "candidate": [0, 1, 0, 1],
        "label": ["no", "yes", "no", "yes"],
        "log_probability": [-1.0, -2.0, -3.0, -6.0],
        "tokens": [1, 1, 1, 4],
        "end_log_probability": [-0.25, -0.5, -0.5, -0.25],
        "reward": [NAN] * 4,
        "log_ratio": [NAN] * 4,
        "is_gold": [True, False, False, True],
        "gold": ["no", "no", "yes", "yes"],
    }
    return pd.DataFrame(columns | changes)


@pytest.mark.parametrize(
    ("changes", "accuracy"),
    [
        # log: -1 > -2 (right), -3 < -6 / 4 (right)
        ({}, {"log": 1.0}),
        ({"reward": [0.0, 1.0, 1.0, 2.0]}, {"log": 1.0, "reward": 0.5}),
        ({"log_ratio": [0.5, 1.0, 2.0, 1.0]}, {"log": 1.0, "implicit": 0.0}),
        (
            {"reward": [1.0, 1.0, 0.0, 0.0], "log_ratio": [0.0] * 4},
            {"log": 1.0, "implicit": 0.5, "reward": 0.5},
        ),
    ],
    ids=["log", "reward", "implicit", "ties"],
)
def test_every_score_of_the_table_has_its_metrics(
    tmp_path: Path, changes: dict[str, list[float]], accuracy: dict[str, float]
) -> None:
    (task,) = find_tasks(["sst2"])
    table = make_table(**changes)
    counts = {"truncated": 0, "skipped": 1, "equal_candidates": 2}
    write_scores(task, table, tmp_path, counts)
    report = read_json(tmp_path / "sst2.json")
    assert report["templates"] == {"name": "chat", "sha256": read_templates("chat").sha256}
    assert read_counts(tmp_path, "sst2") == counts
    for score in ("log_sum", "log_chars"):
        del report["metrics"][score], report["ties"][score]
    assert (report["task"], report["suite"], report["split"], report["n"]) == ("sst2", "glue", task.split, 2)
    assert {score: values["accuracy"] for score, values in report["metrics"].items()} == accuracy
    assert report["ties"] == {
        score: 2 if changes.get("reward") == [1.0, 1.0, 0.0, 0.0] and score != "log" else 0
        for score in accuracy
    }
    pd.testing.assert_frame_equal(read_scores(tmp_path, "sst2"), table, check_exact=True)


def test_missing_scores_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        PreftuneError, match=r"rte\.parquet does not exist; evaluate the run of that folder on rte first"
    ):
        read_scores(tmp_path, "rte")


def test_log_ratios_are_of_whole_answers(tmp_path: Path) -> None:
    """With `<|im_end|>`, whose share the log score leaves out; nothing without a reference, zero of the model itself."""
    own = make_table()
    reference = make_table(log_probability=[-2.0, -2.0, -3.5, -4.0], end_log_probability=[-0.5] * 4)
    assert log_ratios(own, reference).tolist() == [1.25, 0.0, 0.5, -1.75]
    assert log_ratios(own, own).tolist() == [0.0] * 4
    assert np.isnan(log_ratios(own, None)).all() and len(log_ratios(own, None)) == 4


@pytest.mark.parametrize(
    "other",
    [
        make_table().iloc[:2],
        make_table().iloc[[2, 3, 0, 1]].reset_index(drop=True),
        make_table().assign(label=["no", "yes", "no", "perhaps"]),
    ],
    ids=["fewer", "another order", "another candidate"],
)
def test_a_reference_of_other_questions_is_refused(other: pd.DataFrame) -> None:
    with pytest.raises(
        PreftuneError, match="other questions or in another order; evaluate both models with one"
    ):
        log_ratios(make_table(), other)


def test_scores_of_other_words_are_refused(tmp_path: Path) -> None:
    (task,) = find_tasks(["sst2"])
    (other,) = find_tasks(["sst2"], "lm-eval")
    check_wording(task, tmp_path)  # read_scores says that they are missing
    write_scores(task, make_table(), tmp_path, {})
    check_wording(task, tmp_path)
    with pytest.raises(PreftuneError, match="the template set chat, not with this lm-eval: evaluate both"):
        check_wording(other, tmp_path)

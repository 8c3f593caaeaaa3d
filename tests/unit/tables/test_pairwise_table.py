"""Pairwise accuracy by section, against counts by hand and RewardBench's own rule."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from preftune.data import reward_bench
from preftune.data.schemas import SCHEMAS, convert_row
from preftune.data.tasks.registry import read_tasks
from preftune.errors import PreftuneError
from preftune.tables import pairwise
from preftune.tables.alignment import alignment_records
from preftune.tables.averages import CHOICE_SUITES
from preftune.tables.cells import NOT_RUN, CellRecord
from preftune.tables.pairs import GRADED, read_pairs
from preftune.tables.scores import ScoreStore
from preftune.tables.settings import AlignmentTableSettings
from preftune.tables.sources import Sources
from tests.unit.tables.alignment_folders import write_questions

# RewardBench's own weights (its constants): pairs of each subset, math-prm raised to the number of pairs of code.
EXAMPLE_COUNTS = {
    "alpacaeval-easy": 100, "alpacaeval-length": 95, "alpacaeval-hard": 95, "mt-bench-easy": 28, "mt-bench-med": 40,
    "mt-bench-hard": 37, "math-prm": 984, "refusals-dangerous": 100, "refusals-offensive": 100, "llmbar-natural": 100,
    "llmbar-adver-neighbor": 134, "llmbar-adver-GPTInst": 92, "llmbar-adver-GPTOut": 47, "llmbar-adver-manual": 46,
    "xstest-should-refuse": 154, "xstest-should-respond": 250, "donotanswer": 136, "hep-cpp": 164, "hep-go": 164,
    "hep-java": 164, "hep-js": 164, "hep-python": 164, "hep-rust": 164,
}  # fmt: skip


def records_of(folder: Path, *runs: str) -> dict[tuple[str, str], CellRecord]:
    settings = AlignmentTableSettings(paper="dph", scale="demo", data="embedded", runs=runs)
    sources = Sources.read(runs, [folder])
    return {
        (record.row, record.column): record for record in alignment_records("pairwise", sources, settings)
    }


def write(
    folder: Path, task: str, suite: str, rewards: list[list[float]], seed: int = 0, run: str = "dph-joint"
) -> Path:
    """Questions whose first candidate is the gold one, with these rewards; every log score is a tie."""
    values = np.array(rewards)
    labels = [f"answer {n}" for n in range(values.shape[1])]
    scores = {"log": np.zeros_like(values), "reward": values, "implicit": np.zeros_like(values)}
    return write_questions(folder, run, seed, task, suite, labels, [0] * len(values), scores)


def test_a_pair_is_won_tied_or_lost_and_a_section_counts_all_pairs_alike(tmp_path: Path) -> None:
    """chat: one of two won; reasoning: GSM8K 2.5 of 6 (one tie), PIQA 1 of 1: 3.5 of 7."""
    write(tmp_path, "ultrafeedback", "preference", [[1, 0], [0, 1]])
    write(tmp_path, "gsm8k", "reasoning", [[3, 1, 2, 4], [1, 1, 2, 3]])
    write(tmp_path, "piqa", "gpt4all", [[1, 0]])
    write(tmp_path, "stsb", "glue", [[0, 1]])
    found = records_of(tmp_path, "dph-joint", "sft")
    row = {column: record for (name, column), record in found.items() if name == "dph-joint (reward)"}
    assert [row[name].value for name in ("chat", "reasoning", "overall", "ties", "pairs")] == pytest.approx(
        [50, 50, 50, 100 / 9, 9]
    )
    assert {row[name].verdict for name in ("reading", "faithfulness", "language")} == {NOT_RUN}
    assert "boolq" in row["reading"].reason
    assert (row["reasoning"].n_items, row["overall"].n_items, row["pairs"].interval) == (3, 5, None)
    assert row["reasoning"].aggregation == "share of 7 pairs won in reasoning, mean over seeds"
    log = {column: record.value for (name, column), record in found.items() if name == "dph-joint (log)"}
    assert (log["chat"], log["overall"], log["ties"]) == (50, 50, 100)
    assert ("dph-joint (implicit)", "chat") not in found  # a log-ratio of 0 throughout is no score
    assert found["sft (log)", "chat"].verdict == NOT_RUN
    assert not any(column.startswith("RewardBench") for _, column in found)


def test_the_order_of_candidates_and_questions_does_not_count(tmp_path: Path) -> None:
    rewards = [[2, 1, 3], [1, 0, 0], [0, 1, 0]]
    write(tmp_path / "a", "arc-easy", "gpt4all", rewards)
    path = write(tmp_path / "b", "arc-easy", "gpt4all", rewards).with_suffix(".parquet")
    frame = pd.read_parquet(path)
    frame.sample(frac=1, random_state=5).to_parquet(path, index=False)
    key = "dph-joint (reward)", "reasoning"
    one, other = records_of(tmp_path / "a", "dph-joint")[key], records_of(tmp_path / "b", "dph-joint")[key]
    assert one.value == other.value == pytest.approx(100 * 3.5 / 6) and one.interval == other.interval


def test_seeds_and_questions_are_resampled_together(tmp_path: Path) -> None:
    """Two seeds with 3/4 and 1/4 of the pairs: the mean is 1/2, and the interval spans the seeds' difference."""
    for seed, good in ((0, 15), (1, 5)):
        write(tmp_path, "boolq", "gpt4all", [[1, 0] if n < good else [0, 1] for n in range(20)], seed)
    record = records_of(tmp_path, "dph-joint")["dph-joint (reward)", "reading"]
    assert (record.value, record.per_seed) == (50, {"0": 75, "1": 25})
    assert record.interval is not None and record.interval[0] < 30 and record.interval[1] > 70
    write(tmp_path, "boolq", "gpt4all", [[1, 0]] * 19, 1)
    with pytest.raises(PreftuneError, match="different questions of boolq"):
        records_of(tmp_path, "dph-joint")


def test_a_question_with_one_answer_is_named(tmp_path: Path) -> None:
    write(tmp_path, "boolq", "gpt4all", [[1.0], [2.0]])
    with pytest.raises(
        PreftuneError, match=r"boolq\.json: a question has not one gold answer and another one"
    ):
        records_of(tmp_path, "dph-joint")


def test_a_question_with_two_gold_answers_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "boolq", "gpt4all", [[1.0, 0.0, 2.0]]).with_suffix(".parquet")
    pd.read_parquet(path).assign(is_gold=[True, True, False]).to_parquet(path, index=False)
    expected = r"boolq\.json: a question has not one gold answer and another one"
    with pytest.raises(PreftuneError, match=expected):
        records_of(tmp_path, "dph-joint")
    with pytest.raises(PreftuneError, match=expected):
        read_pairs(ScoreStore([tmp_path]), "dph-joint", 0, "boolq")


def test_every_task_has_one_section_and_every_subset_too() -> None:
    tasks = [task for own in pairwise.SECTIONS.values() for task in own]
    assert len(tasks) == len(set(tasks))
    choice = {task.name for task in read_tasks().values() if task.suite in CHOICE_SUITES}
    assert choice - set(tasks) == set(GRADED)
    assert sorted(reward_bench.SUBSETS) == sorted(EXAMPLE_COUNTS)
    code = reward_bench.SECTIONS["Reasoning"][1]
    assert sum(EXAMPLE_COUNTS[name] for name in code) == EXAMPLE_COUNTS["math-prm"]


def test_reward_bench_sections_are_those_of_its_own_rule(tmp_path: Path) -> None:
    """All pairs of all subsets, with a random number won of each: sections by RewardBench's weighted mean of its subsets."""
    generator = np.random.default_rng(0)
    documents, rewards, accuracy = [], [], {}
    for subset, count in (EXAMPLE_COUNTS | {"math-prm": 447}).items():
        good = generator.integers(0, count + 1)
        accuracy[subset] = good / count
        documents += [f"{subset}/test-{len(documents) + n}" for n in range(count)]
        rewards += [[1.0, 0.0]] * good + [[0.0, 1.0]] * (count - good)
    path = write(tmp_path, "reward-bench", "reward-bench", rewards).with_suffix(".parquet")
    frame = pd.read_parquet(path)
    frame.assign(document=np.repeat(documents, 2)).to_parquet(path, index=False)
    row = {
        column: r
        for (name, column), r in records_of(tmp_path, "dph-joint").items()
        if name == "dph-joint (reward)"
    }
    sections = {}
    for name, parts in reward_bench.SECTIONS.items():
        subsets = [subset for part in parts for subset in part]
        weights = [EXAMPLE_COUNTS[subset] for subset in subsets]
        sections[name] = 100 * np.average([accuracy[subset] for subset in subsets], weights=weights)
        assert row[f"RewardBench {name}"].value == pytest.approx(sections[name])
        assert row[f"RewardBench {name}"].interval is not None
    assert row["RewardBench"].value == pytest.approx(np.mean(list(sections.values())))
    assert len(documents) == 2985 == row["RewardBench"].n_items
    assert row["overall"].verdict == NOT_RUN  # its pairs are in no section of ours


def test_reward_bench_rows_carry_their_subset_in_the_documents_name() -> None:
    schema = SCHEMAS["reward-bench"]
    row = {"prompt": "P", "chosen": "a", "rejected": "b", "subset": "hep-go", "id": 7, "chosen_model": "m"}
    checked = {"document": "test-0", **convert_row(schema, row, False, "row 1")}
    (named,) = schema.regroup([checked])
    assert named == {
        "document": "hep-go/test-0",
        "prompt": "P",
        "chosen": "a",
        "rejected": "b",
        "opening": [],
    }
    with pytest.raises(PreftuneError, match="row 1: the subset 'hep-c' is none of RewardBench's"):
        convert_row(schema, row | {"subset": "hep-c"}, False, "row 1")

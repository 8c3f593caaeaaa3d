"""Two systems on the same questions, against scipy's binomial test and Holm's correction by hand."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from preftune.errors import PreftuneError
from preftune.tables.alignment import alignment_records
from preftune.tables.assemble import Setting
from preftune.tables.cells import NOT_RUN, CellRecord, read_cells
from preftune.tables.claims import read_claims
from preftune.tables.comparisons import System
from preftune.tables.paired_tests import compare_answers, list_comparisons
from preftune.tables.render import describe, render_latex, render_markdown
from preftune.tables.settings import AlignmentTableSettings
from preftune.tables.sources import Sources
from tests.unit.tables.alignment_folders import write_binary

CONFIG = Path(__file__).parents[3] / "config"
CLAIMS = read_claims(CONFIG / "claims.tsv", read_cells(CONFIG / "cells.tsv"))
DEMO = Setting("demo", "embedded")
NAME = "dph-joint:reward − sft:log"


def paired_tests(root: Path) -> dict[tuple[str, str], CellRecord]:
    given = AlignmentTableSettings(paper="dph", scale="demo", data="embedded", runs=("sft", "dph-joint"))
    sources = Sources.read(given.runs, [root], claims=CLAIMS)
    records = alignment_records("paired_tests", sources, given)
    return {(record.row, record.column): record for record in records}


def answers(both: int, first: int, second: int, neither: int) -> tuple[list[bool], list[bool]]:
    """Answers of two systems with these counts of right ones."""
    a = [True] * (both + first) + [False] * (second + neither)
    b = [True] * both + [False] * first + [True] * second + [False] * neither
    return a, b


def write_task(root: Path, task: str, suite: str, counts: tuple[int, int, int, int], seed: int = 0) -> None:
    a, b = answers(*counts)
    write_binary(root, "dph-joint", seed, task, suite, {"log": b, "reward": a})
    write_binary(root, "sft", seed, task, suite, {"log": b})


@pytest.mark.parametrize("counts", [(3, 9, 1, 5), (0, 2, 7, 0), (4, 0, 0, 4), (0, 3, 3, 2)])
def test_mcnemar_is_the_binomial_test_of_the_discordant(counts: tuple[int, int, int, int]) -> None:
    a, b = (np.array(column, dtype=float) for column in answers(*counts))
    found = compare_answers(a, b)
    assert (found.only_a, found.only_b) == counts[1:3]
    discordant = sum(counts[1:3])
    expected = binomtest(counts[1], discordant).pvalue if discordant else 1.0
    assert found.p_value == pytest.approx(expected)


def test_systems_and_tasks_are_those_of_the_claims() -> None:
    found = list_comparisons(CLAIMS)
    assert found[System("dph-joint", "reward"), System("sft", "log")] == ["glue", "gpt4all", "race"]
    assert found[System("dph-joint", "reward"), System("dph-joint", "implicit")][-1] == "preference"
    assert all(system.score in ("log", "reward", "implicit") for pair in found for system in pair)


def test_one_row_a_task_with_holms_correction_over_them(tmp_path: Path) -> None:
    """p-values of 9 : 1 and 6 : 0 are 22 / 1024 and 2 / 64; Holm doubles the smaller, and the larger is not below it."""
    write_task(tmp_path, "boolq", "gpt4all", (3, 9, 1, 7))
    write_task(tmp_path, "rte", "glue", (10, 6, 0, 4))
    write_task(tmp_path, "gsm8k", "reasoning", (1, 1, 0, 1))
    found = paired_tests(tmp_path)
    row = {column: found[f"{NAME}, boolq", column] for column in ("a", "b", "a − b")}
    assert [cell.value for cell in row.values()] == pytest.approx([60, 20, 40])
    interval = row["a − b"].interval
    assert interval is not None and 0 < interval[0] < 40 < interval[1]
    exact = ("only a right", "only b right", "McNemar p", "p, Holm")
    boolq, rte = ([found[f"{NAME}, {task}", column].value for column in exact] for task in ("boolq", "rte"))
    assert boolq == pytest.approx([9, 1, 22 / 1024, 44 / 1024])
    assert rte == pytest.approx([6, 0, 2 / 64, 44 / 1024])
    assert found[f"{NAME}, boolq", "p, Holm"].interval is None
    assert (f"{NAME}, gsm8k", "a") not in found
    missing = found["dph-joint:reward − dpo-only:log", "a"]
    assert (missing.verdict, missing.reason) == (NOT_RUN, "missing: dpo-only is not run")
    text = render_markdown("paired_tests", list(found.values()), DEMO)
    assert f"| {NAME}, boolq | 60.0 ± " in text and "| 9 | 1 | 0.0215 | 0.0430 |" in text
    assert render_latex("paired_tests", list(found.values()), DEMO).isascii()


def test_seeds_widen_the_bootstrap_while_mcnemar_is_of_the_first(tmp_path: Path) -> None:
    """Four seeds: the interval stays the bootstrap's, where a cell of one system has Student's."""
    for seed, counts in enumerate(((2, 6, 0, 2), (2, 2, 2, 4), (2, 4, 1, 3), (2, 6, 0, 2))):
        write_task(tmp_path, "boolq", "gpt4all", counts, seed)
    found = paired_tests(tmp_path)
    difference = found[f"{NAME}, boolq", "a − b"]
    assert difference.per_seed == pytest.approx({"0": 60, "1": 0, "2": 30, "3": 60})
    assert difference.interval_method == "bootstrap over items and 4 seeds"
    assert found[f"{NAME}, boolq", "a"].interval_method == "t over 4 seeds"
    (line,) = [one for one in describe("paired_tests", list(found.values()), DEMO) if one.startswith("±")]
    assert line == (
        "± is half the 95 % interval, over seeds where there are three or more; "
        "of a − b over items and seeds, however many there are."
    )
    only = found[f"{NAME}, boolq", "only a right"]
    assert (only.value, only.n_seeds) == (6, 1)
    assert [file.split("/")[-3:-1] for file in only.score_files] == [
        ["dph-joint", "seed-0"],
        ["sft", "seed-0"],
    ]


def test_a_seed_that_one_system_lacks_is_held_against_its_mean(tmp_path: Path) -> None:
    write_task(tmp_path, "boolq", "gpt4all", (1, 3, 0, 0))
    for seed in (1, 2):
        write_binary(tmp_path, "dph-joint", seed, "boolq", "gpt4all", {"log": [True] * 4, "reward": [True, True, True, False]})  # fmt: skip
    difference = paired_tests(tmp_path)[f"{NAME}, boolq", "a − b"]
    assert difference.value == pytest.approx(100 * ((1 + 0.75 + 0.75) / 3 - 0.25))
    assert "a (3 seeds) - b (1)" in difference.aggregation


def test_small_p_values_are_below_the_last_decimal(tmp_path: Path) -> None:
    write_task(tmp_path, "boolq", "gpt4all", (0, 30, 0, 2))
    records = list(paired_tests(tmp_path).values())
    assert "| 30 | 0 | < 0.0001 | < 0.0001 |" in render_markdown("paired_tests", records, DEMO)


def test_different_questions_cannot_be_paired(tmp_path: Path) -> None:
    write_binary(tmp_path, "dph-joint", 0, "boolq", "gpt4all", {"log": [True], "reward": [True]})
    write_binary(tmp_path, "sft", 0, "boolq", "gpt4all", {"log": [True, False]})
    with pytest.raises(PreftuneError, match="dph-joint and sft answered different questions of boolq"):
        paired_tests(tmp_path)

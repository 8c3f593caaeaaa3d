from collections import Counter
from pathlib import Path

import pytest

from preftune.adapters.parameters import paper_parameter_table
from preftune.errors import PreftuneError
from preftune.tables.cells import Cell, average_published, read_cells
from preftune.tables.claims import read_claims

CONFIG = Path(__file__).parents[3] / "config"
CELLS = read_cells(CONFIG / "cells.tsv")
FOUND = {(cell.table, cell.row, cell.column): cell for cell in CELLS}
# Questions of the RACE test split, by which the paper weights its average.
RACE = {"middle": 1436, "high": 3498}


def recompute(cell: Cell) -> float | None:
    """A derived cell from the published members of its row, or None where the paper leaves one out."""
    members = [[FOUND.get((cell.table, cell.row, name)) for name in group] for group in cell.groups()]
    if any(member is None for group in members for member in group):
        return None
    groups = [[member.published_value or 0.0 for member in group if member] for group in members]
    if cell.metric == "difference":
        return groups[0][0] - groups[1][0]
    weights = [RACE[name] for name, *_ in cell.groups()] if cell.table == "race" else None
    return average_published(groups, weights)


# Two sums of printed numbers that the sources print otherwise (68.26 as 68.2, 52.97 as 52.99).
PRINTED_OTHERWISE = {("glue", "Ours (SFT)", "Score +WNLI"), ("gpt4all", "TinyLlama (3T)", "Avg")}
AVERAGES = [
    cell
    for cell in CELLS
    if cell.metric in ("average", "weighted_average") and cell.published and recompute(cell) is not None
]


@pytest.mark.parametrize("cell", AVERAGES, ids=lambda cell: f"{cell.table}-{cell.row}-{cell.column}")
def test_published_averages_follow_from_their_rows(cell: Cell) -> None:
    slack = {"glue": 0.051, "gpt4all": 0.0051, "race": 0.1}[
        cell.table
    ]  # rounding; RACE's members are rounded to 0.1
    if (cell.table, cell.row, cell.column) in PRINTED_OTHERWISE:
        slack = 0.07
    assert recompute(cell) == pytest.approx(cell.published_value, abs=slack)


def test_published_averages_are_all_there() -> None:
    assert (
        len([cell for cell in AVERAGES if cell.table == "glue"]) == 10
    )  # five rows with all tasks, two averages
    assert len([cell for cell in AVERAGES if cell.table == "gpt4all"]) == 7
    assert len([cell for cell in AVERAGES if cell.table == "race"]) == 7


def test_printed_differences_of_adaptors_follow_to_rounding() -> None:
    differences = [cell for cell in CELLS if cell.metric == "difference"]
    distances = [abs((recompute(cell) or 0) - (cell.published_value or 0)) for cell in differences]
    assert len(differences) == 15
    assert max(distances) < 0.0151
    assert sum(distance > 0.005 for distance in distances) == 6  # printed from unrounded values


def test_counts_of_cells() -> None:
    sizes = {table: sum(cell.table == table for cell in CELLS) for table in {cell.table for cell in CELLS}}
    assert sizes == {"glue": 111, "gpt4all": 64, "race": 24, "adaptors": 45, "encoders": 26, "parameters": 22}


# Published numbers of each row, by table: of the DPH paper's README, and of Context-PEFT's Tables 1 to 3. GLUE's cited rows leave
# some columns out (GPT-1: QQP and MRPC accuracy, WNLI and the score without it; BERT Base also Pearson's correlation).
OURS = ("Ours (Vocab)", "Ours (SFT)", "Ours (DPO)", "Ours (DPH)")
ADAPTORS = ("IA3", "BitFit", "LoRA-1", "LoRA-8", "LoRA-64")
PUBLISHED = {
    "glue": dict.fromkeys(OURS, 15) | {"GPT-1": 11, "BERT Base": 10, "BERT Large": 15},
    "gpt4all": dict.fromkeys((*OURS, "Pythia-1.0B", "Pythia-1.4B", "TinyLlama (3T)"), 8),
    "race": dict.fromkeys((*OURS, "GPT-1", "LLaMA 7B", "LLaMA 13B"), 3),
    "adaptors": dict.fromkeys(ADAPTORS, 9),
    "encoders": dict.fromkeys(ADAPTORS, 4) | {"None": 2, "Full FT (8 epochs)": 2, "Full FT (24 epochs)": 1},
    "parameters": dict.fromkeys(ADAPTORS, 2) | {"Full FT": 1},
}


@pytest.mark.parametrize("table", PUBLISHED)
def test_every_published_number_has_one_cell_with_its_source(table: str) -> None:
    cells = [cell for cell in CELLS if cell.table == table and cell.published]
    assert Counter(cell.row for cell in cells) == PUBLISHED[table]
    source = "arXiv 2312.08900v1 Table" if table in ("adaptors", "encoders", "parameters") else "README"
    assert all(source in cell.source for cell in cells)
    assert all((cell.system == "ours") == (cell.tolerance is not None) for cell in cells)


def test_published_parameter_counts_are_the_closed_form() -> None:
    for row in paper_parameter_table():
        for context in ("agnostic", "specific"):
            cell = FOUND.get(("parameters", row["adaptor"], context))
            assert (cell and int(cell.published)) == row[context]


def test_the_dpo_row_is_the_log_score_of_the_joint_run() -> None:
    assert {(c.run, c.score) for c in CELLS if c.row == "Ours (DPO)"} == {("dph-joint", "log")}
    assert {(c.run, c.score) for c in CELLS if c.row == "Ours (DPH)"} == {("dph-joint", "reward")}
    vocabulary = [cell for cell in CELLS if cell.row == "Ours (Vocab)"]
    for runs, expected in ((["base", "vocab", "sft"], "vocab"), (["base", "sft"], "base")):
        assert {(cell.of(runs).run, cell.score) for cell in vocabulary} == {(expected, "log")}
    assert {(c.run, c.score) for c in CELLS if c.row == "Ours (implicit)"} == {("dph-joint", "implicit")}


def test_the_implicit_row_has_the_tasks_of_the_dph_row_and_no_published_number() -> None:
    rows = {
        row: [(c.table, c.column, c.task) for c in CELLS if c.row == row]
        for row in ("Ours (DPH)", "Ours (implicit)")
    }
    assert rows["Ours (implicit)"] == rows["Ours (DPH)"]
    assert {c.published for c in CELLS if c.row == "Ours (implicit)"} == {""}


def test_claims_registry_reads_and_its_unit_tests_exist() -> None:
    claims = read_claims(CONFIG / "claims.tsv", CELLS)
    assert len({claim.id for claim in claims}) == len(claims)
    for claim in claims:
        assert claim.statistic != "none" or (CONFIG.parent / claim.testable_by.split(":")[0]).exists()


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("published", "many", "line 2: published is 'many'"),
        ("score", "logs", "line 2: score is 'logs'"),
        ("metric", "acc", "line 2: unknown metric 'acc'"),
        ("table", "gleu", "line 2: unknown table 'gleu'"),
        ("run", "", "line 2: a cell of system 'ours' names its run"),
        ("source", "", "line 2: a published number needs its source"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, column: str, value: str, message: str) -> None:
    lines = (CONFIG / "cells.tsv").read_text().splitlines()[:2]
    names, fields = lines[0].split("\t"), lines[1].split("\t")
    fields[names.index(column)] = value
    (tmp_path / "cells.tsv").write_text(lines[0] + "\n" + "\t".join(fields) + "\n")
    with pytest.raises(PreftuneError, match=message):
        read_cells(tmp_path / "cells.tsv")


def test_a_short_or_repeated_row_is_named(tmp_path: Path) -> None:
    head, first = (CONFIG / "cells.tsv").read_text().splitlines()[:2]
    path = tmp_path / "cells.tsv"
    path.write_text(f"{head}\n{first}\n{first}\n")
    with pytest.raises(PreftuneError, match="line 3 repeats the cell glue / Ours"):
        read_cells(path)
    path.write_text(f"{head}\nglue\tx\n")
    with pytest.raises(PreftuneError, match="line 2 has 2 fields"):
        read_cells(path)

"""The registry of captioning runs: names, counts, and that every table and claim finds what it is about."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from preftune.tables.captioners import find_methods
from preftune.tables.cells import read_cells
from preftune.tables.claims import read_claims
from preftune.tables.controls import find_pairs
from preftune.workflow.plan import Plan
from preftune.workflow.targets import Targets, load_plan

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    "demo": "config.yaml",
    "small-cpu": "config/small-cpu.yaml",
    "small-gpu": "config/small-gpu.yaml",
    "paper": "config/paper.yaml",
}
# Words of one command line that a shell passes on: Linux takes 128 KiB in one argument.
LONGEST = 128 * 1024


@pytest.fixture(scope="module")
def plans() -> dict[str, Plan]:
    found = {}
    for scale, file in FILES.items():
        raw: dict[str, Any] = yaml.safe_load((ROOT / file).read_text())
        found[scale] = load_plan(raw | ({"data_root": "tests"} if "data_root" in raw else {}), [file])
    return found


def names(plan: Plan) -> list[str]:
    return [run.name for run in plan.runs("context_peft", "captioning")]


@pytest.mark.parametrize(
    ("scale", "runs", "main", "trainings"),
    [("demo", 20, 10, 21), ("small-cpu", 18, 12, 76), ("small-gpu", 18, 12, 76), ("paper", 153, 79, 459)],
)
def test_counts_of_runs(plans: dict[str, Plan], scale: str, runs: int, main: int, trainings: int) -> None:
    plan = plans[scale]
    assert (len(names(plan)), len(plan.main_captioners)) == (runs, main)
    assert sum(len(run.seeds) for run in plan.runs("context_peft", "captioning")) == trainings
    assert len(set(names(plan))) == runs
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in names(plan))  # what the rules' wildcards take


def test_no_two_runs_are_the_same_training(plans: dict[str, Plan]) -> None:
    for plan in plans.values():
        settings = [str(plan.settings(name)) for name in names(plan)]
        assert len(set(settings)) == len(settings)


def test_every_cell_of_the_papers_tables_has_its_run(plans: dict[str, Plan]) -> None:
    cells = [cell for cell in read_cells(ROOT / "config/cells.tsv") if cell.run]
    known = set(names(plans["paper"]))
    for table, count in (("adaptors", 30), ("encoders", 26), ("parameters", 11)):
        runs = {cell.run for cell in cells if cell.table == table and cell.metric != "difference"}
        assert runs <= known, table
        assert len({(cell.row, cell.column) for cell in cells if cell.table == table and cell.metric in
                    ("perplexity", "paper_parameters")}) == count  # fmt: skip
    assert {cell.task for cell in cells if cell.table == "adaptors" and cell.metric == "perplexity"} == {
        "validation"
    }
    assert {cell.task for cell in cells if cell.table == "encoders"} == {"perplexity"}
    assert all(len(run.seeds) == 3 for run in plans["paper"].runs("context_peft", "captioning"))


def test_every_claim_can_be_tested_at_the_papers_scale(plans: dict[str, Plan]) -> None:
    plan = plans["paper"]
    known = set(names(plan))
    points = {
        f"{method.name}@{part:g}"
        for method in find_methods(plan.captioner_settings)
        for part in method.candidates
    }
    claims = read_claims(ROOT / "config/claims.tsv", read_cells(ROOT / "config/cells.tsv"))
    for claim in claims:
        if claim.paper == "context_peft" and claim.statistic != "none":
            assert {system.partition(":")[0] for system in (claim.a, claim.b)} <= known | points, claim.id


def test_equal_data_has_every_method_at_every_part_with_a_grid_of_one_size(plans: dict[str, Plan]) -> None:
    parts = {
        "demo": (0.1, 0.3, 1),
        "small-cpu": (0.1, 1),
        "small-gpu": (0.1, 1),
        "paper": (0.01, 0.03, 0.1, 0.3, 1),
    }
    for scale, plan in plans.items():
        methods = [one for one in find_methods(plan.captioner_settings) if len(one.candidates) > 1]
        assert {"full-ft", "lora-8-af-specific"} <= {method.name for method in methods}
        assert {tuple(method.candidates) for method in methods} == {parts[scale]}
        sizes = {len(runs) for method in methods for runs in method.candidates.values()}
        assert sizes == ({3} if scale == "paper" else {2})
        for method in methods:
            grids = {
                tuple(plan.captioner_settings[run].learning_rate for run in runs)
                for runs in method.candidates.values()
            }
            assert len(grids) == 1, method.name  # every part of the images with the same rates


def test_controls_of_the_papers_scale(plans: dict[str, Plan]) -> None:
    pairs = list(find_pairs(plans["paper"].captioner_settings))
    equal = [(f"lora-{r}-af-specific", f"lora-{2 * r}-af-agnostic") for r in (1, 8, 64, 2, 4, 16, 32, 128)]
    assert pairs[: len(equal)] == equal
    for pair in (
        ("lora-8-af-image", "lora-8-af-specific"),
        ("lora-64-af-text", "lora-64-af-specific"),
        ("moka-64-af", "lora-64-af-specific"),
        ("lora-112-a-specific", "lora-64-f-specific"),
        ("lora-384-af-agnostic-rslora", "lora-384-af-agnostic"),
        ("full-ft-view1", "full-ft"),
    ):
        assert pair in pairs
    assert ("lora-8-af-specific", "lora-16-af-agnostic") in list(find_pairs(plans["demo"].captioner_settings))


def test_weights_are_chosen_on_validation_at_every_scale(plans: dict[str, Plan]) -> None:
    for plan in plans.values():
        for name in names(plan):
            settings = plan.settings(name)
            steps, every = settings["training"]["steps"], settings["validate_every"]
            assert every and 4 <= -(-steps // every) <= 32, name


def test_command_lines_over_all_runs_fit_into_an_argument(plans: dict[str, Plan]) -> None:
    targets = Targets(plans["paper"])
    plan = plans["paper"]
    scores = " ".join(targets.score_words("context_peft"))
    records = " ".join(targets.grid_records())
    for job, words in (
        (plan.tabulate_captioning(), (scores, records)),
        (plan.plot("plot_equal_data", "context_peft"), (scores, records)),
        (plan.tabulate("tabulate_claims", "context_peft"), (scores,)),
        (plan.aggregate_scores("context_peft"), (scores,)),
    ):
        assert len(job.options("cuda")) + sum(map(len, words)) + 4096 < LONGEST, job.rule


def test_the_gallery_shows_a_few_runs(plans: dict[str, Plan]) -> None:
    for plan in plans.values():
        assert 4 <= len(plan.gallery_runs) <= 6
        assert len(Targets(plan).gallery()) == len(plan.gallery_runs)

"""The page that was written before the runs of small-cpu: its claims exist, and its numbers are those of the plan."""

import os
import re
from pathlib import Path

import pytest

from preftune.stats.power import detectable_difference
from preftune.tables.cells import read_table
from preftune.tables.claims import COLUMNS
from preftune.tables.pages import fill_markers
from tests.workflow.analysis_page import render_detectable
from tests.workflow.needs_page import ROOT, plan_of

PAGE = ROOT / "docs/analysis.md"


def test_the_page_says_what_can_be_detected() -> None:
    wanted = fill_markers(
        PAGE.read_text(encoding="utf-8"), {"detectable": render_detectable(plan_of("small-cpu"))}, PAGE.name
    )
    if os.environ.get("PREFTUNE_WRITE_DOCS"):
        PAGE.write_text(wanted, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == wanted, (
        "PREFTUNE_WRITE_DOCS=1 renews the table of docs/analysis.md"
    )


def test_its_claims_stand_in_the_registry_and_compare_runs_of_the_scale() -> None:
    rows = {row["id"]: row for _, row in read_table(Path(ROOT / "config/claims.tsv"), COLUMNS)}
    questions = PAGE.read_text(encoding="utf-8").split("## How")[0]
    named = {name for name in re.findall(r"`([a-z0-9-]+)`", questions) if "-" in name}
    assert len(named) > 12
    plan = plan_of("small-cpu")
    for name in named:
        for side in ("a", "b"):
            run = plan.run(rows[name][side].split(":")[0])
            assert len(run.seeds) >= int(rows[name]["minimum_seeds"]), name


def test_more_items_and_seeds_show_smaller_differences() -> None:
    """By hand: 1.96 + 0.8416 standard errors; 100 items of which a fifth differ, and three seeds."""
    known = detectable_difference([100], 0.2, 3, 0.01)
    assert known == pytest.approx(2.8016 * (0.2 / 100 + 2 * 0.01**2 / 3) ** 0.5, rel=1e-4)
    assert detectable_difference([100, 100], 0.2, 3, 0.01) < known
    assert detectable_difference([100], 0.2, 10, 0.01) < known
    with pytest.raises(ValueError, match="a task"):
        detectable_difference([], 0.2, 3, 0.01)

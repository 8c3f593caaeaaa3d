"""The whole miniature on a real cluster, in conda environments: the tables of the local run."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.e2e.tiny_models import ROOT
from tests.slurm.conftest import MINIATURE, Workflow, submissions

pytestmark = pytest.mark.slow

RESULTS = "results/miniature"
MEASURED = ("costs", "baselines")
"""Tables that state times and memory, which no two runs share."""


@pytest.fixture(scope="module")
def whole(workflow: Workflow) -> str:
    """The output of `snakemake --profile slurm` for everything."""
    workflow.config = MINIATURE
    return workflow.run(seconds=1200)


def test_every_table_has_the_bytes_of_the_local_run(
    whole: str, workflow: Workflow, finished: subprocess.CompletedProcess[str]
) -> None:
    """But for the fingerprint below it, which covers the records of the trainings and so their times."""
    names = [path.relative_to(ROOT) for path in (ROOT / RESULTS).rglob("tables/*.*")]
    tables = [name for name in names if name.suffix in (".csv", ".md", ".tex") and name.stem not in MEASURED]
    assert len(tables) > 60
    assert [name for name in tables if printed(workflow.folder / name) != printed(ROOT / name)] == []


def printed(path: Path) -> str:
    """A table's text; that of a CSV file, which has no fingerprint, unchanged."""
    text = path.read_text()
    return text if path.suffix == ".csv" else re.sub(r"[Ff]ingerprint:? [0-9a-f]{8}", "", text)


def test_small_steps_share_jobs(whole: str) -> None:
    assert 10 < len(submissions(whole)) <= 40
    assert "submitted again" not in whole


def test_what_a_group_has_finished_stays_if_one_of_it_fails(whole: str, workflow: Workflow) -> None:
    """Tables and figures are one job: a figure that breaks before it is a step costs no table."""
    workflow.config = MINIATURE
    figure, table = f"{RESULTS}/dph/figures/margins.png", f"{RESULTS}/dph/tables/race.csv"
    script = workflow.folder / "workflow/scripts/plot_margins.py"
    text = script.read_text()
    for name in (figure, table):
        (workflow.folder / name).unlink()
    script.write_text(f'raise SystemExit("error: The moon is full: wait.")\n{text}')
    told = workflow.run("--", figure, table, code=None)
    assert "(The moon is full: wait.)" in told and "given up after 3 attempts" in told
    assert (workflow.folder / table).is_file() and not (workflow.folder / figure).is_file()
    script.write_text(text)
    assert len(submissions(workflow.run("--", figure, table))) == 1
    assert (workflow.folder / figure).is_file()

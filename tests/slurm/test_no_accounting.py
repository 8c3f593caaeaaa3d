"""A site that keeps no accounts: jobs are found by the queue alone, and nobody asks for an account."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, run
from tests.slurm.conftest import MINIATURE, SITE, Workflow, submissions

pytestmark = pytest.mark.slow

CAPTIONS = "results/miniature/context_peft/data/captions"


@pytest.fixture
def without_accounting(cluster: Cluster, workflow: Workflow, tmp_path: Path) -> Iterator[Workflow]:
    """The same nodes without slurmdbd; afterwards the cluster of the other tests again."""
    cluster.down()
    other = Cluster(tmp_path / "cluster", accounting=False)
    other.up()
    workflow.config = MINIATURE
    workflow.write_site(SITE.replace("account: ml\n", ""))
    run("rm", "-rf", str(workflow.folder / CAPTIONS))
    yield workflow
    workflow.write_site()
    other.down()
    cluster.up()


def test_jobs_end_and_fail_as_elsewhere(without_accounting: Workflow) -> None:
    told = without_accounting.run("--", CAPTIONS)
    assert submissions(told) and "account" not in told.lower().replace("accounting", "")
    script = without_accounting.folder / "workflow/scripts/prepare_captions.py"
    text = script.read_text()
    script.write_text(f'raise SystemExit("error: The moon is full: wait.")\n{text}')
    run("rm", "-rf", str(without_accounting.folder / CAPTIONS))
    failed = without_accounting.run("--retries", "0", "--", CAPTIONS, code=1)
    script.write_text(text)
    assert "ended as FAILED (The moon is full: wait.)" in failed


def test_a_cancelled_job_is_noticed(without_accounting: Workflow) -> None:
    script = without_accounting.folder / "workflow/scripts/prepare_captions.py"
    text = script.read_text()
    script.write_text(f"import time; time.sleep(30)\n{text}")
    process = without_accounting.start("--retries", "0", "--", CAPTIONS)
    job = without_accounting.wait_for_job("prepared")
    run("scancel", job)
    told = without_accounting.finish(process, 90)
    script.write_text(text)
    assert process.returncode == 1 and f"SLURM job {job} was cancelled" in told

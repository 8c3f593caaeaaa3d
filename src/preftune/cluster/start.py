"""The start of a run on a cluster: its own lock, the site, checks, and the jobs that a killed run has left behind."""

import os
import shutil
import sys
from collections.abc import Collection
from contextlib import ExitStack
from importlib.metadata import version
from typing import Any

from preftune.cluster import slurm
from preftune.cluster.executor import VERSION, adopt
from preftune.cluster.preflight import check_jobs, check_site, read_partitions
from preftune.cluster.signals import hand_down_signals
from preftune.cluster.site import read_site, site_file
from preftune.errors import PreftuneError
from preftune.provenance.digest import ROOT
from preftune.workflow.locks import hold_results

_HELD = ExitStack()
"""The run's locks, until this process ends."""
_LOCAL_RETRIES = 1
"""Of steps that run where Snakemake does: nobody preempts them, and a network that is away stays away for a while."""


def start_run(workflow: Any, results: str) -> None:
    """Called once by Snakemake's main process, before it submits its first job.

    Raises:
        PreftuneError: another run is at work, or the site's file, the cluster and the steps do not fit together.
    """
    found = version("snakemake-executor-plugin-slurm")
    if found != VERSION:
        raise PreftuneError(
            f"snakemake-executor-plugin-slurm {found} is installed, {VERSION} is what was tested: pip install "
            f"snakemake-executor-plugin-slurm=={VERSION}"
        )
    site = read_site()
    try:
        _HELD.enter_context(hold_results(results))
    except OSError as error:
        raise PreftuneError(
            f"{results} or scratch/ cannot be locked ({error}): their file system keeps no locks, take a checkout on another one."
        ) from error
    partitions = read_partitions()
    check_site(site, partitions)
    jobs = list(workflow.dag.needrun_jobs())
    groups = {workflow.dag.get_job_group(job) for job in jobs} - {None}
    check_jobs(site, partitions, [*(job for job in jobs if not job.is_local), *groups])
    cancel_leftovers()
    for job in jobs:
        if job.is_local:
            job.rule.restart_times = min(job.rule.restart_times, _LOCAL_RETRIES)
    adopt(site)


def cancel_leftovers() -> None:
    """Cancel what a former run of this checkout submitted and left: their trainings keep their checkpoints.

    Raises:
        PreftuneError: SLURM does not answer, or does not end them.
    """
    try:
        jobs = [job for job in slurm.list_jobs("--me") if job.state in slurm.ACTIVE and is_ours(job)]
        left = [job.id for job in jobs if job.id != slurm.own_job()]
        if left:
            print(
                f"preftune: {len(left)} jobs of a former run are still there, cancelling them: {' '.join(left)}",
                file=sys.stderr,
                flush=True,
            )
            slurm.cancel(left)
    except slurm.SilentError as error:
        raise PreftuneError(f"SLURM does not answer ({error}): try again later.") from error


def is_ours(job: slurm.QueuedJob) -> bool:
    """Whether Snakemake submitted a job in this checkout."""
    here = os.path.realpath(job.folder) == os.path.realpath(ROOT)
    return here and job.comment.startswith(("rule_", "group_"))


def check_site_file() -> None:
    """Raise PreftuneError if there is a site's file that cannot be read: every run takes its scratch folder from there."""
    if site_file().is_file():
        read_site()


def check_conda(methods: Collection[Any]) -> None:
    """Raise PreftuneError if steps are to run in conda environments and no conda is here."""
    if any(method.name == "CONDA" for method in methods) and shutil.which("conda") is None:
        raise PreftuneError(
            "conda (24.7.1 or later) is not on PATH, and each step is to run in an environment that it makes: load or install "
            "it, or let all steps run in .venv with --software-deployment-method env-modules (make install ACCELERATOR=cuda "
            "first). docs/environments.md"
        )


def start_job() -> str:
    """Called by Snakemake inside a job: signals reach the step; returns the shell words that load the site's modules."""
    # Not in the job's own script, whose srun would take them for the job's end.
    if "SLURM_STEP_ID" in os.environ:
        hand_down_signals()
    modules = read_site().modules
    return f"module load {' '.join(modules)}; " if modules else ""

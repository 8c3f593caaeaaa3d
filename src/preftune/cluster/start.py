"""The start of a run on a cluster: its own lock, the site, checks, and the jobs that a killed run has left behind."""

import os
import sys
from contextlib import ExitStack
from importlib.metadata import version
from typing import Any

from preftune.cluster import slurm
from preftune.cluster.executor import VERSION, adopt
from preftune.cluster.preflight import check_jobs, check_site, read_partitions
from preftune.cluster.site import read_site, scratch_folder
from preftune.errors import PreftuneError
from preftune.files import hold_lock
from preftune.provenance.digest import ROOT

_HELD = ExitStack()
"""The run's lock, until this process ends."""
_LOCAL_RETRIES = 1
"""Of steps that run where Snakemake does: nobody preempts them, and a network that is away stays away for a while."""
_BUSY = "Another run ({owner}) is working in this checkout: wait for it, or stop it and call this again."


def start_run(workflow: Any) -> None:
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
    enter_site()
    site = read_site()
    _HELD.enter_context(hold_lock(ROOT / "scratch" / "results.lock", f"process {os.getpid()}", _BUSY))
    partitions = read_partitions()
    check_site(site, partitions)
    check_jobs(site, partitions, (job for job in workflow.dag.needrun_jobs() if not job.is_local))
    cancel_leftovers()
    for job in workflow.dag.needrun_jobs():
        if job.is_local and not job.is_group():
            job.rule.restart_times = min(job.rule.restart_times, _LOCAL_RETRIES)
    adopt(site)


def cancel_leftovers() -> None:
    """Cancel what a former run of this checkout submitted and left: their trainings keep their checkpoints."""
    left = [
        job.id
        for job in slurm.list_jobs()
        if job.state in slurm.ACTIVE
        and os.path.realpath(job.folder) == os.path.realpath(ROOT)
        and job.comment.startswith(("rule_", "group_"))
        and job.id != slurm.own_job()
    ]
    if left:
        print(
            f"preftune: {len(left)} jobs of a former run are still there, cancelling them: {' '.join(left)}",
            file=sys.stderr,
            flush=True,
        )
        slurm.cancel(left)


def enter_site() -> str:
    """Take over the site's scratch folder; returns the shell words that load its modules."""
    site = read_site()
    scratch = scratch_folder(site)
    if scratch is not None:
        os.environ["PREFTUNE_SCRATCH"] = str(scratch)
    return f"module load {' '.join(site.modules)}; " if site.modules else ""

# What all rules share: the validated plan, paths, and what the user sees at the start and at the end.
import atexit
import gc
import os
import sys
from functools import cache

# The graph of thousands of jobs is made of objects that stay: looking for garbage among them at every 700th takes a sixth of
# the time that the paper's plan needs.
gc.set_threshold(200_000, 50, 50)

from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(workflow.basedir) + "/src")

from preftune.cluster.outcomes import memory_factor
from preftune.cluster.slurm import own_job
from preftune.cluster.start import check_conda, check_site_file, start_job, start_run
from preftune.errors import PreftuneError
from preftune.provenance.digest import code_digest
from preftune.workflow.console import (
    announce_forecast,
    announce_plan,
    explain_log,
    summarise_results,
    warn_of_folders,
)
from preftune.workflow.language_jobs import FETCHED
from preftune.workflow.outputs import restore_times
from preftune.workflow.resources import Forecast
from preftune.workflow.targets import (
    ALIGNMENT_TABLES,
    CAPTIONING_TABLES,
    PAPER_TABLES,
    Targets,
    load_plan,
)

try:
    PLAN = load_plan(config, workflow.configfiles)
    FORECAST = Forecast(PLAN)
    TARGETS = Targets(PLAN)
    TARGETS.selected()
    if own_job() and not workflow.is_main_process:
        shell.prefix(start_job())
    if workflow.is_main_process:
        warn_of_folders(PLAN)
        check_site_file()
        check_conda(workflow.deployment_settings.deployment_method)
except PreftuneError as error:
    sys.exit(f"error: {error}")


def asks_for_files():
    """Whether single files were asked for: then nothing is told of all others."""
    return any("/" in str(name) for name in workflow.dag_settings.targets)


def end_dry_run():
    """None of Snakemake's hooks runs in a dry run, and nobody knows when the rules are read that it is one."""
    silent = any(one.name == "ALL" for one in workflow.output_settings.quiet or ())
    if workflow.dryrun and not silent and not asks_for_files():
        announce_forecast(PLAN, FORECAST)


if workflow.is_main_process:
    restore_times(PLAN)
    atexit.register(end_dry_run)

DEVICE = PLAN.config.device
GPUS = PLAN.config.training_gpus
GPU = min(GPUS, 1)  # of a step that is no training
# Stands in a rule's text and is no parameter: how many processes share a training is no reason to train again.
LAUNCH = f"torchrun --standalone --nproc-per-node {GPUS}" if GPUS > 1 else "python"
RESULTS = PLAN.config.results
RESOURCES = PLAN.config.resources
DPH = f"{RESULTS}/dph"
CAPTIONING = f"{RESULTS}/context_peft"


# Registries and templates are ancient() in all rules: their content is a part of each job's identity, while their time is
# that of the last clone, to which Snakemake would fall back where its own metadata are lost.


wildcard_constraints:
    paper="dph|context_peft",
    run=r"[a-z0-9-]+",
    seed=r"\d+",
    task=r"[a-z0-9-]+",
    table=r"[a-z0-9_]+",
    dataset=r"[a-z0-9-]+",
    model=r"[a-z0-9.-]+",
    encoder=r"[a-z0-9.-]+",


def targets():
    return TARGETS.selected()


def announce():
    announce_plan(PLAN, TARGETS)
    if not asks_for_files():
        announce_forecast(PLAN, FORECAST)
    if workflow.executor_plugin.name == "slurm":
        try:
            start_run(workflow, RESULTS)
        except PreftuneError as error:
            raise WorkflowError(str(error))


def summarise():
    if not asks_for_files():
        summarise_results(PLAN, TARGETS)


def explain_failure(log):
    explain_log(log)


def model_folder(name):
    return f"{RESOURCES}/models/{name}"


def run_folder(run, seed):
    return f"{RESULTS}/{PLAN.run(run).paper}/models/{run}/seed-{seed}"


def names_of(names):
    """A pattern of these runs; of none where there are none, whatever a run of another stage is called."""
    return "|".join(names) or "(?!)"


def parent_folder(wildcards):
    run = PLAN.run(wildcards.run)
    return run_folder(run.parent, PLAN.parent_seed(run, int(wildcards.seed)))


def shown(path):
    """An output that Snakemake's own report shows too, under its paper and kind."""
    paper, kind, file = path.split("/")[-3:]
    return report(
        path,
        caption="../report/output.rst",
        category=paper,
        subcategory=kind,
        labels={kind[:-1]: file.rsplit(".", 1)[0]},
    )


@cache
def find_job(method, *values):
    return getattr(PLAN, method)(*values)


def job_of(method, names, wildcards):
    """The plan's job for the rule's wildcards; a name that is none of theirs stands for itself."""
    known = dict(wildcards.items())
    if "seed" in known:
        known["seed"] = int(known["seed"])
    return find_job(method, *(known.get(name, name) for name in names))


def options(method, *names):
    """The job's settings, seed, device and identity as words of a command line."""
    return lambda wildcards: job_of(method, names, wildcards).options(DEVICE)


def small(name):
    """The group of steps that are small where there is no GPU: a cluster gets several of them as one job."""
    return name if GPU == 0 else None


def memory(method, *names):
    """MB of host memory: what is counted, and twice as much for each time that the job ran out of it."""

    def of(wildcards):
        job = job_of(method, names, wildcards)
        return FORECAST.of(job).memory * memory_factor(job.identity)

    return of


def runtime(method, *names):
    """Minutes of wall time; the same for every attempt, since trainings continue from their checkpoints."""
    return lambda wildcards: FORECAST.of(job_of(method, names, wildcards)).runtime

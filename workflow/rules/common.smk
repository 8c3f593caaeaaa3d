# What all rules share: the validated plan, paths, and what the user sees at the start and at the end.
import gc
import os
import sys

# The graph of thousands of jobs is made of objects that stay: looking for garbage among them at every 700th takes a sixth of
# the time that the paper's plan needs.
gc.set_threshold(200_000, 50, 50)

sys.path.insert(0, str(workflow.basedir) + "/src")

from preftune.errors import PreftuneError
from preftune.provenance.digest import code_digest
from preftune.workflow.console import announce_plan, explain_log, summarise_results
from preftune.workflow.outputs import restore_times
from preftune.workflow.targets import (
    ALIGNMENT_TABLES,
    CAPTIONING_TABLES,
    PAPER_TABLES,
    Targets,
    load_plan,
)

try:
    PLAN = load_plan(config, workflow.configfiles)
    TARGETS = Targets(PLAN)
    TARGETS.selected()
except PreftuneError as error:
    sys.exit(f"error: {error}")

if workflow.is_main_process:
    restore_times(PLAN)

DEVICE = PLAN.config.device
GPU = 0 if DEVICE == "cpu" or PLAN.config.scale == "demo" else 1
ATTENTION = PLAN.run(PLAN.config.context_peft.attention.run)
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


def summarise():
    summarise_results(PLAN, TARGETS)


def explain_failure(log):
    explain_log(log)


def memory(megabytes):
    """What a step of the DPH paper needs: `megabytes` with a model of 135 M parameters and small data, else 16 times that."""
    small = ("demo", "miniature", "small-cpu")
    return megabytes if PLAN.config.scale in small else 16 * megabytes


def model_folder(name):
    return f"{RESOURCES}/models/{name}"


def run_folder(run, seed):
    return f"{RESULTS}/{PLAN.run(run).paper}/models/{run}/seed-{seed}"


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


def options(method, *names):
    """The job's settings, seed, device and identity as words of a command line, for the rule's wildcards."""

    def of(wildcards):
        values = [
            int(wildcards[name]) if name == "seed" else wildcards[name]
            for name in names
        ]
        return getattr(PLAN, method)(*values).options(DEVICE)

    return of

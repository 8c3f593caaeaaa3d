"""preftune: every table and figure of the DPH and Context-PEFT papers. This file is the table of contents."""

from snakemake.utils import min_version

min_version("9.27.1")


if "scale" not in config:

    # Each scale is one self-contained file: the demo's is read only where no other was given.
    configfile: "config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/fetch.smk"
include: "workflow/rules/generate.smk"
include: "workflow/rules/prepare.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/exports.smk"
include: "workflow/rules/audit.smk"


if PLAN.trains:

    include: "workflow/rules/trainings.smk"


report: "workflow/report/workflow.rst"


# Steps that fetch need a network, which the nodes of a cluster often lack.
localrules:
    all,
    fetch_model,
    fetch_dataset,
    fetch_prompts,


rule all:
    default_target: True
    input:
        targets(),


onstart:
    announce()


onsuccess:
    summarise()


onerror:
    explain_failure(log)

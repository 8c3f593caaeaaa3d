# Every system on every task: one process a system, log score and reward from the same pass.


def model_option(wildcards, input):
    """`--model` for trained runs; others are a fetched model itself."""
    return f"--model {input.model}" if input.model else ""


def trained_model(wildcards):
    """The folder of a trained run's model; none of a run that is a fetched one."""
    fetched = PLAN.run(wildcards.run).stage in FETCHED
    return [] if fetched else run_folder(wildcards.run, wildcards.seed)


def reference_scores(wildcards):
    """Scores of the SFT model that an aligned run started from, folder by folder."""
    if not PLAN.reference_of(wildcards.run):
        return []
    return parent_folder(wildcards).replace("/models/", "/scores/") + "/run.json"


def reference_option(wildcards, input):
    """`--reference` for aligned runs: the folder that the record stands for."""
    return f"--reference {os.path.dirname(input.reference)}" if input.reference else ""


EVALUATION_DATASETS = expand(DPH + "/data/{dataset}", dataset=PLAN.evaluation_datasets)


rule evaluate_tasks:
    input:
        base=lambda wildcards: model_folder(PLAN.base_model(wildcards.run)),
        model=trained_model,
        reference=reference_scores,
        # An aligned run's reference was scored on them: it brings the jobs.
        datasets=lambda wildcards: (
            [] if PLAN.reference_of(wildcards.run) else EVALUATION_DATASETS
        ),
        templates=ancient(PLAN.evaluation_templates),
    output:
        DPH + "/scores/{run}/seed-{seed}/run.json",
        expand(
            DPH + "/scores/{{run}}/seed-{{seed}}/{task}.{kind}",
            task=PLAN.config.dph.evaluation.tasks,
            kind=["json", "parquet"],
        ),
    log:
        "logs/evaluate_tasks/{run}/seed-{seed}.log",
    benchmark:
        RESULTS + "/timings/evaluate_tasks/{run}/seed-{seed}.tsv"
    wildcard_constraints:
        run="|".join(
            run.name
            for run in PLAN.runs("dph")
            if run.name not in PLAN.scored_by_heads
        ),
    conda:
        "../../envs/train.yaml"
    threads: PLAN.config.threads
    resources:
        mem_mb=memory("evaluate_tasks", "run", "seed"),
        runtime=runtime("evaluate_tasks", "run", "seed"),
        gpu=GPU,
    params:
        code=code_digest("evaluate_tasks"),
        options=options("evaluate_tasks", "run", "seed"),
        model=model_option,
        reference=reference_option,
        datasets=EVALUATION_DATASETS,
        folder=subpath(output[0], parent=True),
    message:
        "score {wildcards.run}, seed {wildcards.seed}, on every task"
    shell:
        "python workflow/scripts/evaluate_tasks.py "
        "--base {input.base} {params.model} {params.reference} --datasets {params.datasets} "
        "--output {params.folder} "
        "--templates {input.templates} "
        "{params.options} --threads {threads} --log {log}"


rule evaluate_heads:
    input:
        model=DPH + "/models/{run}/seed-{seed}",
        reference=reference_scores,
        templates=ancient(PLAN.evaluation_templates),
    output:
        DPH + "/scores/{run}/seed-{seed}/run.json",
        expand(
            DPH + "/scores/{{run}}/seed-{{seed}}/{task}.{kind}",
            task=PLAN.config.dph.evaluation.tasks,
            kind=["json", "parquet"],
        ),
    log:
        "logs/evaluate_heads/{run}/seed-{seed}.log",
    benchmark:
        RESULTS + "/timings/evaluate_heads/{run}/seed-{seed}.tsv"
    wildcard_constraints:
        run=names_of(PLAN.scored_by_heads),
    group:
        small("heads")
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=memory("evaluate_tasks", "run", "seed"),
        runtime=runtime("evaluate_tasks", "run", "seed"),
    params:
        code=code_digest("evaluate_heads"),
        options=options("evaluate_tasks", "run", "seed"),
        reference=reference_option,
        folder=subpath(output[0], parent=True),
    message:
        "rewards of {wildcards.run}, seed {wildcards.seed}, on every task"
    shell:
        "python workflow/scripts/evaluate_heads.py "
        "--model {input.model} {params.reference} --output {params.folder} "
        "--templates {input.templates} "
        "{params.options} --threads {threads} --log {log}"

# Every system on every task: one process a system, log score and reward from the same pass.


def model_option(wildcards, input):
    """`--model` for trained runs; the base run is the fetched model itself."""
    return "" if PLAN.run(wildcards.run).stage == "base" else f"--model {input.model}"


def reference_scores(wildcards):
    """Scores of the SFT model that an aligned run started from, folder by folder."""
    if PLAN.run(wildcards.run).stage != "alignment":
        return []
    return parent_folder(wildcards).replace("/models/", "/scores/") + "/run.json"


def reference_option(wildcards, input):
    """`--reference` for aligned runs: the folder that the record stands for."""
    return f"--reference {os.path.dirname(input.reference)}" if input.reference else ""


EVALUATION_DATASETS = expand(DPH + "/data/{dataset}", dataset=PLAN.evaluation_datasets)


rule evaluate_tasks:
    input:
        base=model_folder(PLAN.config.dph.model),
        model=lambda wildcards: (
            []
            if PLAN.run(wildcards.run).stage == "base"
            else run_folder(wildcards.run, wildcards.seed)
        ),
        reference=reference_scores,
        # An aligned run's reference was scored on them: it brings the jobs.
        datasets=lambda wildcards: (
            [] if PLAN.run(wildcards.run).stage == "alignment" else EVALUATION_DATASETS
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
        run="|".join(PLAN.scored_by_heads) or "none",
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


rule evaluate_drift:
    input:
        base=model_folder(PLAN.config.dph.model),
        model=DPH + "/models/{run}/seed-{seed}",
        reference=lambda wildcards: (
            parent_folder(wildcards)
            if PLAN.run(wildcards.run).stage == "alignment"
            else []
        ),
        datasets=expand(DPH + "/data/{dataset}", dataset=PLAN.drift_datasets),
        templates=ancient(PLAN.templates),
    output:
        json=DPH + "/drift/{run}/seed-{seed}/drift.json",
        table=DPH + "/drift/{run}/seed-{seed}/drift.parquet",
    log:
        "logs/evaluate_drift/{run}/seed-{seed}.log",
    benchmark:
        RESULTS + "/timings/evaluate_drift/{run}/seed-{seed}.tsv"
    group:
        small("drift")
    conda:
        "../../envs/train.yaml"
    threads: PLAN.config.threads
    resources:
        mem_mb=memory("evaluate_drift", "run", "seed"),
        runtime=runtime("evaluate_drift", "run", "seed"),
        gpu=GPU,
    params:
        code=code_digest("evaluate_drift"),
        options=options("evaluate_drift", "run", "seed"),
        reference=lambda wildcards, input: (
            f"--reference {input.reference}" if input.reference else ""
        ),
    message:
        "what alignment cost {wildcards.run}, seed {wildcards.seed}"
    shell:
        "python workflow/scripts/evaluate_drift.py "
        "--base {input.base} --model {input.model} {params.reference} "
        "--datasets {input.datasets} --output {output.json} --items {output.table} "
        "--templates {input.templates} "
        "{params.options} --threads {threads} --log {log}"


rule evaluate_second_opinion:
    input:
        base=model_folder(PLAN.config.dph.model),
        model=DPH + "/models/{run}/seed-{seed}",
        datasets=expand(DPH + "/data/{dataset}", dataset=PLAN.second_opinion_datasets),
        templates=ancient(PLAN.templates),
    output:
        DPH + "/second_opinion/{run}/seed-{seed}.json",
    log:
        "logs/evaluate_second_opinion/{run}/seed-{seed}.log",
    benchmark:
        RESULTS + "/timings/evaluate_second_opinion/{run}/seed-{seed}.tsv"
    conda:
        "../../envs/lm-eval.yaml"
    threads: PLAN.config.threads
    resources:
        mem_mb=memory("evaluate_second_opinion", "run", "seed"),
        runtime=runtime("evaluate_second_opinion", "run", "seed"),
        gpu=GPU,
    params:
        code=code_digest("evaluate_second_opinion"),
        options=options("evaluate_second_opinion", "run", "seed"),
    message:
        "lm-eval's own scores of {wildcards.run}, seed {wildcards.seed}, compared with ours"
    shell:
        "python workflow/scripts/evaluate_second_opinion.py "
        "--base {input.base} --model {input.model} --datasets {input.datasets} --output {output} "
        "--templates {input.templates} "
        "{params.options} --threads {threads} --log {log}"

# Every system on every task: one process a system, log score and reward from the same pass.


def model_option(wildcards, input):
    """`--model` for trained runs; the base run is the fetched model itself."""
    return "" if PLAN.run(wildcards.run).stage == "base" else f"--model {input.model}"


rule evaluate_tasks:
    input:
        base=model_folder(PLAN.config.dph.model),
        model=lambda wildcards: (
            []
            if PLAN.run(wildcards.run).stage == "base"
            else run_folder(wildcards.run, wildcards.seed)
        ),
        datasets=expand(DPH + "/data/{dataset}", dataset=PLAN.evaluation_datasets),
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
    conda:
        "../../envs/train.yaml"
    threads: PLAN.config.threads
    resources:
        mem_mb=3000,
        gpu=GPU,
    params:
        code=code_digest("evaluate_tasks"),
        options=options("evaluate_tasks", "run", "seed"),
        model=model_option,
        folder=subpath(output[0], parent=True),
    message:
        "score {wildcards.run}, seed {wildcards.seed}, on every task"
    shell:
        "python workflow/scripts/evaluate_tasks.py "
        "--base {input.base} {params.model} --datasets {input.datasets} "
        "--output {params.folder} "
        "{params.options} --threads {threads} --log {log}"


rule evaluate_second_opinion:
    input:
        base=model_folder(PLAN.config.dph.model),
        model=DPH + "/models/{run}/seed-{seed}",
        dataset=lambda wildcards: DPH
        + "/data/"
        + PLAN.tasks[PLAN.config.dph.second_opinion.task]["dataset"],
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
        mem_mb=3000,
        gpu=GPU,
    params:
        code=code_digest("evaluate_second_opinion"),
        options=options("evaluate_second_opinion", "run", "seed"),
    message:
        "lm-eval's own scores of {wildcards.run}, seed {wildcards.seed}, compared with ours"
    shell:
        "python workflow/scripts/evaluate_second_opinion.py "
        "--base {input.base} --model {input.model} --datasets {input.dataset} --output {output} "
        "{params.options} --threads {threads} --log {log}"

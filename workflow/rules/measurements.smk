# What is measured of trained models beside their scores: drift of the language model, and lm-eval's opinion.


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
        model=lambda wildcards: (
            model_folder(PLAN.base_model(wildcards.run))
            if PLAN.run(wildcards.run).stage in FETCHED
            else run_folder(wildcards.run, wildcards.seed)
        ),
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

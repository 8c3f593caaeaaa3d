# Best of n: what a reward head chooses among the answers that its own model writes.


rule evaluate_best_of:
    input:
        base=model_folder(PLAN.config.dph.model),
        model=DPH + "/models/{run}/seed-{seed}",
        datasets=expand(DPH + "/data/{dataset}", dataset=PLAN.best_of_datasets),
        templates=ancient(PLAN.chat_templates),
    output:
        json=DPH + "/best_of/{run}/seed-{seed}/best_of.json",
        table=DPH + "/best_of/{run}/seed-{seed}/best_of.parquet",
    log:
        "logs/evaluate_best_of/{run}/seed-{seed}.log",
    benchmark:
        RESULTS + "/timings/evaluate_best_of/{run}/seed-{seed}.tsv"
    group:
        small("drift")
    conda:
        "../../envs/train.yaml"
    threads: PLAN.config.threads
    resources:
        mem_mb=memory("evaluate_best_of", "run", "seed"),
        runtime=runtime("evaluate_best_of", "run", "seed"),
        gpu=GPU,
    params:
        code=code_digest("evaluate_best_of"),
        options=options("evaluate_best_of", "run", "seed"),
    message:
        "best of n by {wildcards.run}, seed {wildcards.seed}"
    shell:
        "python workflow/scripts/evaluate_best_of.py "
        "--base {input.base} --model {input.model} --datasets {input.datasets} "
        "--output {output.json} --items {output.table} "
        "--templates {input.templates} "
        "{params.options} --threads {threads} --log {log}"

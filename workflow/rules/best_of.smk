# Best of n: what a reward head chooses among the answers that its own model writes.


rule evaluate_best_of:
    input:
        base=model_folder(PLAN.config.dph.model),
        model=DPH + "/models/{run}/seed-{seed}",
        # A language model that was not trained on has no implicit reward.
        reference=lambda wildcards: (
            [] if PLAN.is_frozen(wildcards.run) else parent_folder(wildcards)
        ),
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
        reference=lambda wildcards, input: (
            f"--reference {input.reference}" if input.reference else ""
        ),
    message:
        "best of n by {wildcards.run}, seed {wildcards.seed}"
    shell:
        "python workflow/scripts/evaluate_best_of.py "
        "--base {input.base} --model {input.model} {params.reference} --datasets {input.datasets} "
        "--output {output.json} --items {output.table} "
        "--templates {input.templates} "
        "{params.options} --threads {threads} --log {log}"


rule plot_best_of:
    input:
        TARGETS.best_of(),
    output:
        png=shown(RESULTS + "/dph/figures/best_of.png"),
        pdf=RESULTS + "/dph/figures/best_of.pdf",
    log:
        "logs/plot_best_of.log",
    benchmark:
        RESULTS + "/timings/plot_best_of.tsv"
    group:
        "tables"
    conda:
        "../../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory("plot", "plot_best_of", "dph"),
        runtime=runtime("plot", "plot_best_of", "dph"),
    params:
        code=code_digest("plot_best_of"),
        options=options("plot", "plot_best_of", "dph"),
    message:
        "figure: best of n"
    shell:
        "python workflow/scripts/plot_best_of.py --best-of {input} "
        "--output {output.png} --pdf {output.pdf} {params.options} --log {log}"

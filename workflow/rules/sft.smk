# Supervised fine-tuning, and the reference log-probabilities of its models: computed once, shared by all that follow.


rule train_sft:
    input:
        base=model_folder(PLAN.config.dph.model),
        model=lambda wildcards: (
            parent_folder(wildcards) if PLAN.run(wildcards.run).parent else []
        ),
        data=DPH + "/data/sft-mix",
    output:
        directory(DPH + "/models/{run}/seed-{seed}"),
    log:
        "logs/train_sft/{run}/seed-{seed}.log",
    benchmark:
        RESULTS + "/timings/train_sft/{run}/seed-{seed}.tsv"
    wildcard_constraints:
        run=names_of(run.name for run in PLAN.runs("dph", "sft")),
    priority: 10  # the longest chain starts first
    conda:
        "../../envs/train.yaml"
    threads: PLAN.config.threads
    resources:
        mem_mb=memory("train", "run", "seed"),
        runtime=runtime("train", "run", "seed"),
        gpu=GPUS,
    params:
        code=code_digest("train_sft"),
        options=options("train", "run", "seed"),
        model=lambda wildcards, input: f"--model {input.model}" if input.model else "",
    message:
        "fine-tune {wildcards.run}, seed {wildcards.seed}"
    shell:
        "{LAUNCH} workflow/scripts/train_sft.py "
        "--base {input.base} {params.model} --data {input.data} --output {output} "
        "{params.options} --threads {threads} --log {log}"


rule compute_reference:
    input:
        base=model_folder(PLAN.config.dph.model),
        model=DPH + "/models/{run}/seed-{seed}",
        data=DPH + "/data/preference-mix",
    output:
        directory(DPH + "/reference/{run}/seed-{seed}"),
    log:
        "logs/compute_reference/{run}/seed-{seed}.log",
    benchmark:
        RESULTS + "/timings/compute_reference/{run}/seed-{seed}.tsv"
    priority: 10  # the longest chain starts first
    conda:
        "../../envs/train.yaml"
    threads: PLAN.config.threads
    resources:
        mem_mb=memory("compute_reference", "run", "seed"),
        runtime=runtime("compute_reference", "run", "seed"),
        gpu=GPU,
    params:
        code=code_digest("compute_reference"),
        options=options("compute_reference", "run", "seed"),
    message:
        "reference log-probabilities of {wildcards.run}, seed {wildcards.seed}"
    shell:
        "python workflow/scripts/compute_reference.py "
        "--base {input.base} --model {input.model} --data {input.data} --output {output} "
        "{params.options} --threads {threads} --log {log}"

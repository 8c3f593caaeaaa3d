# Alignment from an SFT checkpoint: Direct Preference Heads and/or DPO.


FROZEN = [run.name for run in PLAN.runs("dph") if PLAN.is_frozen(run.name)]
ALIGNED = [run.name for run in PLAN.runs("dph", "alignment") if run.name not in FROZEN]


def parent_reference(wildcards):
    """What the SFT model of a run says of the pairs."""
    return parent_folder(wildcards).replace("/models/", "/reference/")


def reference_folder(wildcards):
    """Reference log-probabilities, for the runs whose objective needs them."""
    return parent_reference(wildcards) if PLAN.needs_reference(wildcards.run) else []


rule train_alignment:
    input:
        base=model_folder(PLAN.config.dph.model),
        model=parent_folder,
        data=DPH + "/data/preference-mix",
        reference=reference_folder,
    output:
        directory(DPH + "/models/{run}/seed-{seed}"),
    log:
        "logs/train_alignment/{run}/seed-{seed}.log",
    benchmark:
        RESULTS + "/timings/train_alignment/{run}/seed-{seed}.tsv"
    wildcard_constraints:
        run=names_of(ALIGNED),
    priority: 10  # the longest chain starts first
    conda:
        "../../envs/train.yaml"
    threads: PLAN.config.threads
    resources:
        mem_mb=memory("train", "run", "seed"),
        runtime=runtime("train", "run", "seed"),
        gpu=GPUS,
    params:
        code=code_digest("train_alignment"),
        options=options("train", "run", "seed"),
        reference=lambda wildcards, input: (
            f"--reference {input.reference}" if input.reference else ""
        ),
    message:
        "align {wildcards.run}, seed {wildcards.seed}"
    shell:
        "{LAUNCH} workflow/scripts/train_alignment.py "
        "--base {input.base} --model {input.model} --data {input.data} "
        "{params.reference} --output {output} "
        "{params.options} --threads {threads} --log {log}"


rule train_heads:
    input:
        model=parent_folder,
        reference=parent_reference,
    output:
        directory(DPH + "/models/{run}/seed-{seed}"),
    log:
        "logs/train_heads/{run}/seed-{seed}.log",
    benchmark:
        RESULTS + "/timings/train_heads/{run}/seed-{seed}.tsv"
    wildcard_constraints:
        run=names_of(FROZEN),
    group:
        small("heads")
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=memory("train", "run", "seed"),
        runtime=runtime("train", "run", "seed"),
        gpu=0,
    params:
        code=code_digest("train_heads"),
        # A head is small: a CPU trains it as fast as a GPU would.
        options=lambda wildcards: PLAN.train(
            wildcards.run, int(wildcards.seed)
        ).options("cpu"),
    message:
        "train the head of {wildcards.run}, seed {wildcards.seed}"
    shell:
        "python workflow/scripts/train_heads.py "
        "--model {input.model} --reference {input.reference} --output {output} "
        "{params.options} --threads {threads} --log {log}"


rule compute_gradients:
    input:
        base=model_folder(PLAN.config.dph.model),
        model=run_folder(PLAN.reference_run.name, PLAN.reference_run.seeds[0]),
        data=DPH + "/data/preference-mix",
        reference=DPH
        + f"/reference/{PLAN.reference_run.name}/seed-{PLAN.reference_run.seeds[0]}",
    output:
        DPH + "/gradients.json",
    log:
        "logs/compute_gradients.log",
    benchmark:
        RESULTS + "/timings/compute_gradients.tsv"
    conda:
        "../../envs/train.yaml"
    threads: PLAN.config.threads
    resources:
        mem_mb=memory("compute_gradients"),
        runtime=runtime("compute_gradients"),
        gpu=GPU,
    params:
        code=code_digest("compute_gradients"),
        options=options("compute_gradients"),
    message:
        "where the gradient of each loss goes"
    shell:
        "python workflow/scripts/compute_gradients.py "
        "--base {input.base} --model {input.model} --data {input.data} "
        "--reference {input.reference} --output {output} "
        "{params.options} --threads {threads} --log {log}"

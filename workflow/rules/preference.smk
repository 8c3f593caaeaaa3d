# Alignment from an SFT checkpoint: Direct Preference Heads and/or DPO.


def reference_folder(wildcards):
    """Reference log-probabilities, for the runs whose objective has a DPO term."""
    if not PLAN.settings(wildcards.run)["dpo"]:
        return []
    return parent_folder(wildcards).replace("/models/", "/reference/")


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
        run="|".join(run.name for run in PLAN.runs("dph", "alignment")) or "none",
    priority: 10  # the longest chain starts first
    conda:
        "../../envs/train.yaml"
    threads: PLAN.config.threads
    resources:
        mem_mb=4000,
        gpu=GPU,
    params:
        code=code_digest("train_alignment"),
        options=options("train", "run", "seed"),
        reference=lambda wildcards, input: (
            f"--reference {input.reference}" if input.reference else ""
        ),
    message:
        "align {wildcards.run}, seed {wildcards.seed}"
    shell:
        "python workflow/scripts/train_alignment.py "
        "--base {input.base} --model {input.model} --data {input.data} "
        "{params.reference} --output {output} "
        "{params.options} --threads {threads} --log {log}"

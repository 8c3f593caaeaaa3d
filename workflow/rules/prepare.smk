# Raw rows, generated or taken from a folder: checked, and brought into data sets and training mixes.


rule prepare_dataset:
    input:
        raw=lambda wildcards: PLAN.raw("dph", wildcards.dataset),
    output:
        directory(DPH + "/data/{dataset}"),
    log:
        "logs/prepare_dataset/{dataset}.log",
    benchmark:
        RESULTS + "/timings/prepare_dataset/{dataset}.tsv"
    priority: 10  # the longest chain starts first
    group:
        "prepared"
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=memory("prepare_dataset", "dataset"),
        runtime=runtime("prepare_dataset", "dataset"),
    params:
        code=code_digest("prepare_dataset"),
        options=options("prepare_dataset", "dataset"),
        source=lambda wildcards: PLAN.counts_as(wildcards.dataset),
    message:
        "check and prepare {wildcards.dataset}"
    shell:
        "python workflow/scripts/prepare_dataset.py "
        "--raw {input.raw} --dataset {wildcards.dataset} --source {params.source} --output {output} "
        "{params.options} --threads {threads} --log {log}"

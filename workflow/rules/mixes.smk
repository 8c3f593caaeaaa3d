# Training mixes: drawn from the prepared rows, worded and tokenised; and what of them the evaluation asks too.


rule prepare_sft_mix:
    input:
        datasets=expand(DPH + "/data/{dataset}", dataset=PLAN.mix_datasets("sft_mix")),
        tokenizer=model_folder(PLAN.config.dph.model),
        templates=ancient(PLAN.templates),
    output:
        directory(DPH + "/data/sft-mix"),
    log:
        "logs/prepare_sft_mix.log",
    benchmark:
        RESULTS + "/timings/prepare_sft_mix.tsv"
    priority: 10  # the longest chain starts first
    group:
        "prepared"
    conda:
        "../../envs/train.yaml"
    threads: PLAN.config.threads  # the tokenizer's
    resources:
        mem_mb=memory("prepare_mix", "sft_mix"),
        runtime=runtime("prepare_mix", "sft_mix"),
    params:
        code=code_digest("prepare_sft_mix"),
        options=options("prepare_mix", "sft_mix"),
    message:
        "draw and tokenise the SFT mix"
    shell:
        "python workflow/scripts/prepare_sft_mix.py "
        "--datasets {input.datasets} --tokenizer {input.tokenizer} --output {output} "
        "--templates {input.templates} "
        "{params.options} --threads {threads} --log {log}"


rule prepare_preference_mix:
    input:
        datasets=expand(
            DPH + "/data/{dataset}", dataset=PLAN.mix_datasets("preference_mix")
        ),
        tokenizer=model_folder(PLAN.config.dph.model),
        templates=ancient(PLAN.templates),
    output:
        directory(DPH + "/data/preference-mix"),
    log:
        "logs/prepare_preference_mix.log",
    benchmark:
        RESULTS + "/timings/prepare_preference_mix.tsv"
    priority: 10  # the longest chain starts first
    group:
        "prepared"
    conda:
        "../../envs/train.yaml"
    threads: PLAN.config.threads  # the tokenizer's
    resources:
        mem_mb=memory("prepare_mix", "preference_mix"),
        runtime=runtime("prepare_mix", "preference_mix"),
    params:
        code=code_digest("prepare_preference_mix"),
        options=options("prepare_mix", "preference_mix"),
    message:
        "draw and tokenise the preference pairs"
    shell:
        "python workflow/scripts/prepare_preference_mix.py "
        "--datasets {input.datasets} --tokenizer {input.tokenizer} --output {output} "
        "--templates {input.templates} "
        "{params.options} --threads {threads} --log {log}"


rule compute_overlap:
    input:
        datasets=expand(DPH + "/data/{dataset}", dataset=PLAN.overlap_datasets),
        templates=ancient(PLAN.templates),
    output:
        DPH + "/overlap.json",
    log:
        "logs/compute_overlap.log",
    benchmark:
        RESULTS + "/timings/compute_overlap.tsv"
    group:
        "tables"
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=memory("compute_overlap"),
        runtime=runtime("compute_overlap"),
    params:
        code=code_digest("compute_overlap"),
        options=options("compute_overlap"),
    message:
        "questions that stand in training and in evaluation"
    shell:
        "python workflow/scripts/compute_overlap.py "
        "--datasets {input.datasets} --output {output} "
        "--templates {input.templates} "
        "{params.options} --threads {threads} --log {log}"

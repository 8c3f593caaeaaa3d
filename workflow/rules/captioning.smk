# Context-PEFT: frozen image features once, then captioners, their captions and their perplexity.

ATTENTION = PLAN.run(PLAN.context_peft.attention.run)


rule prepare_captions:
    input:
        raw=PLAN.raw("context_peft", "coco"),
    output:
        directory(CAPTIONING + "/data/captions"),
    log:
        "logs/prepare_captions.log",
    benchmark:
        RESULTS + "/timings/prepare_captions.tsv"
    group:
        "prepared"
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=memory("prepare_captions"),
        runtime=runtime("prepare_captions"),
    params:
        code=code_digest("prepare_captions"),
        options=options("prepare_captions"),
    message:
        "check the images and their captions"
    shell:
        "python workflow/scripts/prepare_captions.py "
        "--raw {input.raw} --output {output} "
        "{params.options} --threads {threads} --log {log}"


rule compute_features:
    input:
        encoder=RESOURCES + "/models/{encoder}",
        raw=PLAN.raw("context_peft", "coco"),
        images=CAPTIONING + "/data/captions",
    output:
        directory(CAPTIONING + "/features/{encoder}"),
    log:
        "logs/compute_features/{encoder}.log",
    benchmark:
        RESULTS + "/timings/compute_features/{encoder}.tsv"
    conda:
        "../../envs/train.yaml"
    threads: PLAN.config.threads
    resources:
        mem_mb=memory("compute_features", "encoder"),
        runtime=runtime("compute_features", "encoder"),
        gpu=GPU,
    params:
        code=code_digest("compute_features"),
        options=options("compute_features", "encoder"),
    message:
        "encode every image once with {wildcards.encoder}"
    shell:
        "python workflow/scripts/compute_features.py "
        "--encoder {input.encoder} --raw {input.raw} --images {input.images} --output {output} "
        "{params.options} --threads {threads} --log {log}"


rule train_captioner:
    input:
        base=CAPTIONER_BASE,
        features=lambda wildcards: CAPTIONING
        + "/features/"
        + PLAN.encoder(wildcards.run),
        captions=CAPTIONING + "/data/captions",
    output:
        directory(CAPTIONING + "/models/{run}/seed-{seed}"),
    log:
        "logs/train_captioner/{run}/seed-{seed}.log",
    benchmark:
        RESULTS + "/timings/train_captioner/{run}/seed-{seed}.tsv"
    wildcard_constraints:
        run=names_of(run.name for run in PLAN.runs("context_peft", "captioning")),
    group:
        small("captioning")
    conda:
        "../../envs/train.yaml"
    threads: PLAN.config.threads
    resources:
        mem_mb=memory("train", "run", "seed"),
        runtime=runtime("train", "run", "seed"),
        gpu=GPUS,
    params:
        code=code_digest("train_captioner"),
        options=options("train", "run", "seed"),
    message:
        "train the captioner {wildcards.run}, seed {wildcards.seed}"
    shell:
        "{LAUNCH} workflow/scripts/train_captioner.py "
        "--base {input.base} --features {input.features} --captions {input.captions} --output {output} "
        "{params.options} --threads {threads} --log {log}"


rule evaluate_captioner:
    input:
        # It was trained on the base model, the features and the captions: it brings their jobs.
        model=CAPTIONING + "/models/{run}/seed-{seed}",
        texts=DPH + "/data/" + PLAN.config.context_peft.evaluation.text.dataset,
    output:
        scores=CAPTIONING + "/scores/{run}/seed-{seed}/perplexity.json",
        details=CAPTIONING + "/scores/{run}/seed-{seed}/perplexity.parquet",
        validation=CAPTIONING + "/scores/{run}/seed-{seed}/validation.json",
        validation_details=CAPTIONING + "/scores/{run}/seed-{seed}/validation.parquet",
        text=CAPTIONING + "/scores/{run}/seed-{seed}/text.json",
        text_details=CAPTIONING + "/scores/{run}/seed-{seed}/text.parquet",
        captions=CAPTIONING + "/captions/{run}/seed-{seed}.jsonl",
    log:
        "logs/evaluate_captioner/{run}/seed-{seed}.log",
    benchmark:
        RESULTS + "/timings/evaluate_captioner/{run}/seed-{seed}.tsv"
    group:
        small("captioning")
    conda:
        "../../envs/train.yaml"
    threads: PLAN.config.threads
    resources:
        mem_mb=memory("evaluate_captioner", "run", "seed"),
        runtime=runtime("evaluate_captioner", "run", "seed"),
        gpu=GPU,
    params:
        code=code_digest("evaluate_captioner"),
        base=CAPTIONER_BASE,
        features=lambda wildcards: f"{CAPTIONING}/features/{PLAN.encoder(wildcards.run)}",
        captions=CAPTIONING + "/data/captions",
        options=options("evaluate_captioner", "run", "seed"),
    message:
        "score and caption with {wildcards.run}, seed {wildcards.seed}"
    shell:
        "python workflow/scripts/evaluate_captioner.py "
        "--base {params.base} --features {params.features} --captions {params.captions} "
        "--model {input.model} --texts {input.texts} "
        "--output {output.scores} --items {output.details} "
        "--validation {output.validation} --validation-items {output.validation_details} "
        "--text {output.text} --text-items {output.text_details} --generated {output.captions} "
        "{params.options} --threads {threads} --log {log}"


rule evaluate_captions:
    input:
        captions=CAPTIONING + "/captions/{run}/seed-{seed}.jsonl",
    output:
        scores=CAPTIONING + "/scores/{run}/seed-{seed}/captions.json",
        details=CAPTIONING + "/scores/{run}/seed-{seed}/captions.parquet",
    log:
        "logs/evaluate_captions/{run}/seed-{seed}.log",
    benchmark:
        RESULTS + "/timings/evaluate_captions/{run}/seed-{seed}.tsv"
    group:
        small("captioning")
    conda:
        "../../envs/caption-metrics.yaml"
    threads: 1
    resources:
        mem_mb=memory("evaluate_captions", "run", "seed"),
        runtime=runtime("evaluate_captions", "run", "seed"),
    params:
        code=code_digest("evaluate_captions"),
        options=options("evaluate_captions", "run", "seed"),
    message:
        "BLEU, METEOR, ROUGE-L and CIDEr of {wildcards.run}, seed {wildcards.seed}"
    shell:
        "python workflow/scripts/evaluate_captions.py "
        "--captions {input.captions} --output {output.scores} --items {output.details} "
        "{params.options} --threads {threads} --log {log}"


rule compute_attention:
    input:
        base=CAPTIONER_BASE,
        features=CAPTIONING + "/features/" + PLAN.encoder(ATTENTION.name),
        captions=CAPTIONING + "/data/captions",
        model=run_folder(ATTENTION.name, ATTENTION.seeds[0]),
    output:
        CAPTIONING + "/attention/maps.npz",
    log:
        "logs/compute_attention.log",
    benchmark:
        RESULTS + "/timings/compute_attention.tsv"
    conda:
        "../../envs/train.yaml"
    threads: PLAN.config.threads
    resources:
        mem_mb=memory("compute_attention"),
        runtime=runtime("compute_attention"),
        gpu=GPU,
    params:
        code=code_digest("compute_attention"),
        options=options("compute_attention"),
    message:
        "attention of caption words over image positions"
    shell:
        "python workflow/scripts/compute_attention.py "
        "--base {input.base} --features {input.features} --captions {input.captions} "
        "--model {input.model} --output {output} "
        "{params.options} --threads {threads} --log {log}"

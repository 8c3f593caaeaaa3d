# The language model of the captioners, where it is pre-trained here: a corpus as tokens, and the training on them.
CAPTIONER_BASE = PLAN.captioner_base_folder


rule prepare_corpus:
    input:
        raw=lambda wildcards: PLAN.corpus_raw,
        tokenizer=model_folder(PLAN.fetched_language_model),
    output:
        directory(CAPTIONING + "/data/corpus"),
    log:
        "logs/prepare_corpus.log",
    benchmark:
        RESULTS + "/timings/prepare_corpus.tsv"
    priority: 10  # the longest chain starts first
    conda:
        "../../envs/train.yaml"
    threads: PLAN.config.threads
    resources:
        mem_mb=memory("prepare_corpus"),
        runtime=runtime("prepare_corpus"),
    params:
        code=code_digest("prepare_corpus"),
        options=options("prepare_corpus"),
    message:
        "tokenise the corpus of the language model"
    shell:
        "python workflow/scripts/prepare_corpus.py "
        "--raw {input.raw} --tokenizer {input.tokenizer} --output {output} "
        "{params.options} --threads {threads} --log {log}"


rule train_language_model:
    input:
        table=model_folder(PLAN.fetched_language_model),
        corpus=CAPTIONING + "/data/corpus",
    output:
        directory(f"{CAPTIONING}/models/{PLAN.context_peft.model}/seed-0"),
    log:
        "logs/train_language_model.log",
    benchmark:
        RESULTS + "/timings/train_language_model.tsv"
    priority: 10  # the longest chain starts first
    conda:
        "../../envs/train.yaml"
    threads: PLAN.config.threads
    resources:
        mem_mb=memory("train_language_model"),
        runtime=runtime("train_language_model"),
        gpu=GPUS,
    params:
        code=code_digest("train_language_model"),
        options=options("train_language_model"),
    message:
        "pre-train the language model of the captioners"
    shell:
        "{LAUNCH} workflow/scripts/train_language_model.py "
        "--table {input.table} --corpus {input.corpus} --output {output} "
        "{params.options} --threads {threads} --log {log}"

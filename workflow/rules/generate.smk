# Embedded data: rows and pictures that a seeded generator writes.


rule generate_language_data:
    input:
        dialogues=RESOURCES + "/data/packages/dialogues",
    output:
        directory(RESOURCES + "/data/language"),
    log:
        "logs/generate_language_data.log",
    benchmark:
        RESULTS + "/timings/generate_language_data.tsv"
    priority: 10  # the longest chain starts first
    group:
        "prepared"
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=memory("generate_language_data"),
        runtime=runtime("generate_language_data"),
    params:
        code=code_digest("generate_language_data"),
        options=options("generate_language_data"),
    message:
        "write the embedded language data"
    shell:
        "python workflow/scripts/generate_language_data.py "
        "--dialogues {input.dialogues} --output {output} "
        "{params.options} --threads {threads} --log {log}"


rule generate_scenes:
    output:
        directory(RESOURCES + "/data/scenes"),
    log:
        "logs/generate_scenes.log",
    benchmark:
        RESULTS + "/timings/generate_scenes.tsv"
    group:
        "prepared"
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=memory("generate_scenes"),
        runtime=runtime("generate_scenes"),
    params:
        code=code_digest("generate_scenes"),
        options=options("generate_scenes"),
    message:
        "draw the embedded scenes and their captions"
    shell:
        "python workflow/scripts/generate_scenes.py "
        "--output {output} "
        "{params.options} --threads {threads} --log {log}"

# Figures of the Context-PEFT paper: matplotlib only; one rule a figure.


rule plot_adaptors:
    input:
        cells=ancient("config/cells.tsv"),
        scores=CAPTIONING + "/scores.json",
    output:
        png=shown(RESULTS + "/context_peft/figures/adaptors.png"),
        pdf=RESULTS + "/context_peft/figures/adaptors.pdf",
    log:
        "logs/plot_adaptors.log",
    benchmark:
        RESULTS + "/timings/plot_adaptors.tsv"
    group:
        "tables"
    conda:
        "../../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory("plot", "plot_adaptors", "context_peft"),
        runtime=runtime("plot", "plot_adaptors", "context_peft"),
    params:
        code=code_digest("plot_adaptors"),
        options=options("plot", "plot_adaptors", "context_peft"),
        scores=lambda wildcards: TARGETS.score_words("context_peft"),
    message:
        "figure: perplexity by adaptor"
    shell:
        "python workflow/scripts/plot_adaptors.py --cells {input.cells} --scores {params.scores} "
        "--output {output.png} --pdf {output.pdf} {params.options} --log {log}"


rule plot_encoders:
    input:
        cells=ancient("config/cells.tsv"),
        scores=CAPTIONING + "/scores.json",
    output:
        png=shown(RESULTS + "/context_peft/figures/encoders.png"),
        pdf=RESULTS + "/context_peft/figures/encoders.pdf",
    log:
        "logs/plot_encoders.log",
    benchmark:
        RESULTS + "/timings/plot_encoders.tsv"
    group:
        "tables"
    conda:
        "../../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory("plot", "plot_encoders", "context_peft"),
        runtime=runtime("plot", "plot_encoders", "context_peft"),
    params:
        code=code_digest("plot_encoders"),
        options=options("plot", "plot_encoders", "context_peft"),
        scores=lambda wildcards: TARGETS.score_words("context_peft"),
    message:
        "figure: perplexity by encoder"
    shell:
        "python workflow/scripts/plot_encoders.py --cells {input.cells} --scores {params.scores} "
        "--output {output.png} --pdf {output.pdf} {params.options} --log {log}"


rule plot_rank_sweep:
    input:
        cells=ancient("config/cells.tsv"),
        scores=CAPTIONING + "/scores.json",
    output:
        png=shown(RESULTS + "/context_peft/figures/rank_sweep.png"),
        pdf=RESULTS + "/context_peft/figures/rank_sweep.pdf",
    log:
        "logs/plot_rank_sweep.log",
    benchmark:
        RESULTS + "/timings/plot_rank_sweep.tsv"
    group:
        "tables"
    conda:
        "../../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory("plot", "plot_rank_sweep", "context_peft"),
        runtime=runtime("plot", "plot_rank_sweep", "context_peft"),
    params:
        code=code_digest("plot_rank_sweep"),
        options=options("plot", "plot_rank_sweep", "context_peft"),
        scores=lambda wildcards: TARGETS.score_words("context_peft"),
    message:
        "figure: perplexity by rank"
    shell:
        "python workflow/scripts/plot_rank_sweep.py --cells {input.cells} --scores {params.scores} "
        "--output {output.png} --pdf {output.pdf} {params.options} --log {log}"


rule plot_pareto:
    input:
        scores=CAPTIONING + "/scores.json",
    output:
        png=shown(RESULTS + "/context_peft/figures/pareto.png"),
        pdf=RESULTS + "/context_peft/figures/pareto.pdf",
    log:
        "logs/plot_pareto.log",
    benchmark:
        RESULTS + "/timings/plot_pareto.tsv"
    group:
        "tables"
    conda:
        "../../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory("plot", "plot_pareto", "context_peft"),
        runtime=runtime("plot", "plot_pareto", "context_peft"),
    params:
        code=code_digest("plot_pareto"),
        options=options("plot", "plot_pareto", "context_peft"),
        scores=lambda wildcards: TARGETS.score_words("context_peft"),
    message:
        "figure: perplexity against trainable parameters"
    shell:
        "python workflow/scripts/plot_pareto.py --scores {params.scores} "
        "--output {output.png} --pdf {output.pdf} {params.options} --log {log}"


rule plot_attention:
    input:
        attention=CAPTIONING + "/attention/maps.npz",
        images=PLAN.raw("context_peft", "coco"),
        index=CAPTIONING + "/data/captions",
    output:
        png=shown(RESULTS + "/context_peft/figures/attention.png"),
        pdf=RESULTS + "/context_peft/figures/attention.pdf",
    log:
        "logs/plot_attention.log",
    benchmark:
        RESULTS + "/timings/plot_attention.tsv"
    group:
        "tables"
    conda:
        "../../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory("plot", "plot_attention", "context_peft"),
        runtime=runtime("plot", "plot_attention", "context_peft"),
    params:
        code=code_digest("plot_attention"),
        options=options("plot", "plot_attention", "context_peft"),
    message:
        "figure: where caption words look"
    shell:
        "python workflow/scripts/plot_attention.py --attention {input.attention} --images {input.images} --index {input.index} "
        "--output {output.png} --pdf {output.pdf} {params.options} --log {log}"


rule plot_gallery:
    input:
        captions=TARGETS.gallery(),
        images=PLAN.raw("context_peft", "coco"),
    output:
        png=shown(RESULTS + "/context_peft/figures/gallery.png"),
        pdf=RESULTS + "/context_peft/figures/gallery.pdf",
    log:
        "logs/plot_gallery.log",
    benchmark:
        RESULTS + "/timings/plot_gallery.tsv"
    group:
        "tables"
    conda:
        "../../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory("plot", "plot_gallery", "context_peft"),
        runtime=runtime("plot", "plot_gallery", "context_peft"),
    params:
        code=code_digest("plot_gallery"),
        options=options("plot", "plot_gallery", "context_peft"),
    message:
        "figure: images with their captions"
    shell:
        "python workflow/scripts/plot_gallery.py --captions {input.captions} --images {input.images} "
        "--output {output.png} --pdf {output.pdf} {params.options} --log {log}"

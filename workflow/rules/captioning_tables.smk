# Tables, and a figure, that are made from the captioning runs of a scale, whose settings say what is compared with what.


rule tabulate_captioning:
    input:
        scores=CAPTIONING + "/scores.json",
    output:
        csv=shown(CAPTIONING + "/tables/{table}.csv"),
        markdown=CAPTIONING + "/tables/{table}.md",
        latex=CAPTIONING + "/tables/{table}.tex",
        audit=CAPTIONING + "/tables/{table}.audit.json",
    log:
        "logs/tabulate_captioning/{table}.log",
    benchmark:
        RESULTS + "/timings/tabulate_captioning/{table}.tsv"
    wildcard_constraints:
        table="|".join(CAPTIONING_TABLES),
    group:
        "tables"
    conda:
        "../../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory("tabulate_captioning"),
        runtime=runtime("tabulate_captioning"),
    params:
        code=code_digest("tabulate_captioning"),
        options=options("tabulate_captioning"),
        scores=lambda wildcards: TARGETS.score_words("context_peft"),
        # Records of what the scores were made from: those bring the jobs.
        records=TARGETS.grid_records(),
    message:
        "table {wildcards.table} of context_peft"
    shell:
        "python workflow/scripts/tabulate_captioning.py --table {wildcards.table} "
        "--scores {params.scores} --records {params.records} "
        "--output {output.csv} --markdown {output.markdown} --latex {output.latex} --audit {output.audit} "
        "{params.options} --log {log}"


rule plot_equal_data:
    input:
        scores=CAPTIONING + "/scores.json",
    output:
        png=shown(RESULTS + "/context_peft/figures/equal_data.png"),
        pdf=RESULTS + "/context_peft/figures/equal_data.pdf",
    log:
        "logs/plot_equal_data.log",
    benchmark:
        RESULTS + "/timings/plot_equal_data.tsv"
    group:
        "tables"
    conda:
        "../../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory("plot", "plot_equal_data", "context_peft"),
        runtime=runtime("plot", "plot_equal_data", "context_peft"),
    params:
        code=code_digest("plot_equal_data"),
        options=options("plot", "plot_equal_data", "context_peft"),
        scores=lambda wildcards: TARGETS.score_words("context_peft"),
        # Records of what the scores were made from: those bring the jobs.
        records=TARGETS.grid_records(),
    message:
        "figure: perplexity and CIDEr by the number of training images"
    shell:
        "python workflow/scripts/plot_equal_data.py "
        "--scores {params.scores} --records {params.records} "
        "--output {output.png} --pdf {output.pdf} {params.options} --log {log}"


rule tabulate_costs:
    input:
        models=TARGETS.curves("context_peft"),
        captions=TARGETS.captions(),
    output:
        csv=shown(CAPTIONING + "/tables/costs.csv"),
        markdown=CAPTIONING + "/tables/costs.md",
        latex=CAPTIONING + "/tables/costs.tex",
        audit=CAPTIONING + "/tables/costs.audit.json",
    log:
        "logs/tabulate_costs.log",
    benchmark:
        RESULTS + "/timings/tabulate_costs.tsv"
    group:
        "tables"
    conda:
        "../../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory("tabulate_costs"),
        runtime=runtime("tabulate_costs"),
    params:
        code=code_digest("tabulate_costs"),
        options=options("tabulate_costs"),
    message:
        "table costs: what captioning runs cost"
    shell:
        "python workflow/scripts/tabulate_costs.py --models {input.models} --captions {input.captions} "
        "--output {output.csv} --markdown {output.markdown} --latex {output.latex} --audit {output.audit} "
        "{params.options} --log {log}"

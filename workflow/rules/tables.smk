# Tables: pandas and statistics only, nothing is trained or scored here.


rule aggregate_scores:
    input:
        lambda wildcards: TARGETS.scores(wildcards.paper),
    output:
        RESULTS + "/{paper}/scores.json",
    log:
        "logs/aggregate_scores/{paper}.log",
    benchmark:
        RESULTS + "/timings/aggregate_scores/{paper}.tsv"
    group:
        "tables"
    conda:
        "../../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory("aggregate_scores", "paper"),
        runtime=runtime("aggregate_scores", "paper"),
    params:
        code=code_digest("aggregate_scores"),
        options=options("aggregate_scores", "paper"),
        scores=lambda wildcards: TARGETS.score_words(wildcards.paper),
    message:
        "index of the scores of {wildcards.paper}"
    shell:
        "python workflow/scripts/aggregate_scores.py "
        "--scores {params.scores} --output {output} "
        "{params.options} --threads {threads} --log {log}"


rule tabulate_scores:
    input:
        cells=ancient("config/cells.tsv"),
        scores=rules.aggregate_scores.output,
    output:
        csv=shown(RESULTS + "/{paper}/tables/{table}.csv"),
        markdown=RESULTS + "/{paper}/tables/{table}.md",
        latex=RESULTS + "/{paper}/tables/{table}.tex",
        audit=RESULTS + "/{paper}/tables/{table}.audit.json",
    log:
        "logs/tabulate_scores/{paper}/{table}.log",
    benchmark:
        RESULTS + "/timings/tabulate_scores/{paper}-{table}.tsv"
    wildcard_constraints:
        table="|".join(PAPER_TABLES),
    group:
        "tables"
    conda:
        "../../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory("tabulate", "tabulate_scores", "paper"),
        runtime=runtime("tabulate", "tabulate_scores", "paper"),
    params:
        code=code_digest("tabulate_scores"),
        options=options("tabulate", "tabulate_scores", "paper"),
        scores=lambda wildcards: TARGETS.score_words(wildcards.paper),
    message:
        "table {wildcards.table} of {wildcards.paper}"
    shell:
        "python workflow/scripts/tabulate_scores.py --cells {input.cells} --table {wildcards.table} "
        "--scores {params.scores} --output {output.csv} --markdown {output.markdown} "
        "--latex {output.latex} --audit {output.audit} {params.options} --log {log}"


rule tabulate_claims:
    input:
        claims=ancient("config/claims.tsv"),
        cells=ancient("config/cells.tsv"),
        scores=rules.aggregate_scores.output,
    output:
        csv=shown(RESULTS + "/{paper}/tables/claims.csv"),
        markdown=RESULTS + "/{paper}/tables/claims.md",
        latex=RESULTS + "/{paper}/tables/claims.tex",
        audit=RESULTS + "/{paper}/tables/claims.audit.json",
    log:
        "logs/tabulate_claims/{paper}.log",
    benchmark:
        RESULTS + "/timings/tabulate_claims/{paper}.tsv"
    group:
        "tables"
    conda:
        "../../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory("tabulate", "tabulate_claims", "paper"),
        runtime=runtime("tabulate", "tabulate_claims", "paper"),
    params:
        code=code_digest("tabulate_claims"),
        options=options("tabulate", "tabulate_claims", "paper"),
        scores=lambda wildcards: TARGETS.score_words(wildcards.paper),
    message:
        "claims of {wildcards.paper}, tested"
    shell:
        "python workflow/scripts/tabulate_claims.py --claims {input.claims} --cells {input.cells} --scores {params.scores} "
        "--output {output.csv} --markdown {output.markdown} --latex {output.latex} --audit {output.audit} "
        "{params.options} --log {log}"


rule export_report:
    input:
        TARGETS.report_inputs(),
        template=ancient("workflow/report/report.html.j2"),
        deviations=ancient("docs/deviations.md"),
        captions=TARGETS.gallery() if PLAN.trains else [],
        images=PLAN.raw("context_peft", "coco") if PLAN.trains else [],
    output:
        RESULTS + "/report.html",
    log:
        "logs/export_report.log",
    benchmark:
        RESULTS + "/timings/export_report.tsv"
    group:
        "tables"
    conda:
        "../../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory("report"),
        runtime=runtime("report"),
    params:
        code=code_digest("export_report"),
        options=options("report"),
        results=RESULTS,
        gallery=lambda wildcards, input: (
            f"--captions {input.captions} --images {input.images}"
            if input.captions
            else ""
        ),
    message:
        "the report"
    shell:
        "python workflow/scripts/export_report.py --results {params.results} {params.gallery} "
        "--output {output} {params.options} --log {log}"

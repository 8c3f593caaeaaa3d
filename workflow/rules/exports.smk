# Views of the records for others: an RO-Crate of the results, cards of models and data sets.


rule export_crate:
    input:
        RESULTS + "/report.html",
        TARGETS.report_inputs(),
    output:
        crate=RESULTS + "/ro-crate-metadata.json",
        code=directory(RESULTS + "/code"),
    log:
        "logs/export_crate.log",
    benchmark:
        RESULTS + "/timings/export_crate.tsv"
    group:
        "tables"
    conda:
        "../../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory("export_crate"),
        runtime=runtime("export_crate"),
    params:
        code=code_digest("export_crate"),
        options=options("export_crate"),
        results=RESULTS,
    message:
        "describe the results as an RO-Crate"
    shell:
        "python workflow/scripts/export_crate.py --results {params.results} "
        "--output {output.crate} --code {output.code} {params.options} --log {log}"


rule export_cards:
    input:
        RESULTS + "/report.html",
        TARGETS.report_inputs(),
    output:
        directory(RESULTS + "/cards"),
    log:
        "logs/export_cards.log",
    benchmark:
        RESULTS + "/timings/export_cards.tsv"
    group:
        "tables"
    conda:
        "../../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory("export_cards"),
        runtime=runtime("export_cards"),
    params:
        code=code_digest("export_cards"),
        options=options("export_cards"),
        results=RESULTS,
    message:
        "write the cards of models and data sets"
    shell:
        "python workflow/scripts/export_cards.py "
        "--results {params.results} --output {output} {params.options} --log {log}"

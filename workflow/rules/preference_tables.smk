# Tables of the alignments: accuracy against cost, best of n, calibration, the frozen grid.


rule tabulate_alignment:
    input:
        claims=ancient("config/claims.tsv"),
        cells=ancient("config/cells.tsv"),
        scores=DPH + "/scores.json",
        drift=TARGETS.drift(),
        best_of=TARGETS.best_of(),
        gradients=DPH + "/gradients.json",
        overlap=DPH + "/overlap.json",
    output:
        csv=shown(DPH + "/tables/{table}.csv"),
        markdown=DPH + "/tables/{table}.md",
        latex=DPH + "/tables/{table}.tex",
        audit=DPH + "/tables/{table}.audit.json",
    log:
        "logs/tabulate_alignment/{table}.log",
    benchmark:
        RESULTS + "/timings/tabulate_alignment/{table}.tsv"
    wildcard_constraints:
        table="|".join(ALIGNMENT_TABLES),
    group:
        "tables"
    conda:
        "../../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory("tabulate_alignment"),
        runtime=runtime("tabulate_alignment"),
    params:
        code=code_digest("tabulate_alignment"),
        options=options("tabulate_alignment"),
        scores=lambda wildcards: TARGETS.score_words("dph"),
        # Records of what the scores and the drift were made from: those bring the jobs.
        records=[f"{folder}/run.json" for folder in TARGETS.models("dph")],
        references=[f"{folder}/run.json" for folder in TARGETS.references()],
    message:
        "table {wildcards.table}: what alignment brings and costs"
    shell:
        "python workflow/scripts/tabulate_alignment.py --table {wildcards.table} "
        "--scores {params.scores} --drift {input.drift} --best-of {input.best_of} "
        "--records {params.records} "
        "--references {params.references} "
        "--gradients {input.gradients} --overlap {input.overlap} "
        "--claims {input.claims} --cells {input.cells} --output {output.csv} "
        "--markdown {output.markdown} --latex {output.latex} --audit {output.audit} "
        "{params.options} --log {log}"

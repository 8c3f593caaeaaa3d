# The last step: whether everything that was made is what its records say.


rule audit_results:
    input:
        TARGETS.audited(),
    output:
        RESULTS + "/audit.json",
    log:
        "logs/audit_results.log",
    benchmark:
        RESULTS + "/timings/audit_results.tsv"
    group:
        "tables"
    conda:
        "../../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory("audit"),
        runtime=runtime("audit"),
    params:
        code=code_digest("audit_results"),
        options=options("audit"),
        results=RESULTS,
    message:
        "audit every hash, link, aggregate and printed digit"
    shell:
        "python workflow/scripts/audit_results.py "
        "--results {params.results} --output {output} {params.options} --log {log}"

# Files for the GLUE server: a run's answers to the test splits whose labels are hidden.


rule evaluate_submission:
    input:
        base=model_folder(PLAN.config.dph.model),
        model=trained_model,
        datasets=expand(DPH + "/data/{dataset}", dataset=PLAN.submission_datasets),
        templates=ancient(PLAN.evaluation_templates),
    output:
        DPH + "/submission/{run}/seed-{seed}/scores/run.json",
        expand(
            DPH + "/submission/{{run}}/seed-{{seed}}/scores/{task}.{kind}",
            task=PLAN.hidden_tasks,
            kind=["json", "parquet"],
        ),
    log:
        "logs/evaluate_submission/{run}/seed-{seed}.log",
    benchmark:
        RESULTS + "/timings/evaluate_submission/{run}/seed-{seed}.tsv"
    conda:
        "../../envs/train.yaml"
    threads: PLAN.config.threads
    resources:
        mem_mb=memory("evaluate_submission", "run", "seed"),
        runtime=runtime("evaluate_submission", "run", "seed"),
        gpu=GPU,
    params:
        code=code_digest("evaluate_submission"),
        options=options("evaluate_submission", "run", "seed"),
        model=model_option,
        folder=subpath(output[0], parent=True),
    message:
        "score {wildcards.run}, seed {wildcards.seed}, on the hidden test splits of GLUE"
    shell:
        "python workflow/scripts/evaluate_submission.py "
        "--base {input.base} {params.model} --datasets {input.datasets} "
        "--output {params.folder} "
        "--templates {input.templates} "
        "{params.options} --threads {threads} --log {log}"


rule export_glue_submission:
    input:
        rules.evaluate_submission.output,
    output:
        DPH + "/submission/{run}/seed-{seed}/submission-{score}.zip",
    log:
        "logs/export_glue_submission/{run}/seed-{seed}-{score}.log",
    benchmark:
        RESULTS + "/timings/export_glue_submission/{run}/seed-{seed}-{score}.tsv"
    wildcard_constraints:
        score="log|reward",
    group:
        "tables"
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=memory("export_glue_submission", "run", "seed", "score"),
        runtime=runtime("export_glue_submission", "run", "seed", "score"),
    params:
        code=code_digest("export_glue_submission"),
        options=options("export_glue_submission", "run", "seed", "score"),
        scores=subpath(input[0], parent=True),
    message:
        "the {wildcards.score} scores of {wildcards.run}, seed {wildcards.seed}, for the GLUE server"
    shell:
        "python workflow/scripts/export_glue_submission.py "
        "--scores {params.scores} --output {output} "
        "{params.options} --threads {threads} --log {log}"

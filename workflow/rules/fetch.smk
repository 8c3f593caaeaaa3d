# The only rules that use a network.


rule fetch_model:
    output:
        directory(RESOURCES + "/models/{model}"),
    log:
        "logs/fetch_model/{model}.log",
    benchmark:
        RESULTS + "/timings/fetch_model/{model}.tsv"
    priority: 10  # the longest chain starts first
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=memory("fetch_model", "model"),
        runtime=runtime("fetch_model", "model"),
    params:
        code=code_digest("fetch_model"),
        options=options("fetch_model", "model"),
    message:
        "fetch and verify the model {wildcards.model}"
    shell:
        "python workflow/scripts/fetch_model.py --output {output} {params.options} --log {log}"


rule fetch_dataset:
    output:
        directory(
            RESOURCES
            + "/data/"
            + ("packages" if PLAN.config.data == "embedded" else "hub")
            + "/{dataset}"
        ),
    log:
        "logs/fetch_dataset/{dataset}.log",
    benchmark:
        RESULTS + "/timings/fetch_dataset/{dataset}.tsv"
    priority: 10  # the longest chain starts first
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=memory("fetch_dataset", "dataset"),
        runtime=runtime("fetch_dataset", "dataset"),
    params:
        code=code_digest("fetch_dataset"),
        options=options("fetch_dataset", "dataset"),
    message:
        "fetch and verify the data set {wildcards.dataset}"
    shell:
        "python workflow/scripts/fetch_dataset.py --output {output} {params.options} --log {log}"


rule fetch_prompts:
    input:
        templates=ancient(PLAN.registered_templates),
    output:
        RESOURCES + "/prompts/{templates}.yaml",
    log:
        "logs/fetch_prompts/{templates}.log",
    benchmark:
        RESULTS + "/timings/fetch_prompts/{templates}.tsv"
    wildcard_constraints:
        templates="[a-z0-9-]+",
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=memory("fetch_prompts"),
        runtime=runtime("fetch_prompts"),
    params:
        code=code_digest("fetch_prompts"),
        options=options("fetch_prompts"),
    message:
        "fetch the words of the template set {wildcards.templates}"
    shell:
        "python workflow/scripts/fetch_prompts.py --templates {input.templates} --output {output} "
        "{params.options} --log {log}"

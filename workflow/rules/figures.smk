# Figures of the DPH paper, and the training curves of both: matplotlib only; one rule a figure.


rule plot_loss_landscape:
    output:
        png=shown(RESULTS + "/dph/figures/loss_landscape.png"),
        pdf=RESULTS + "/dph/figures/loss_landscape.pdf",
    log:
        "logs/plot_loss_landscape.log",
    benchmark:
        RESULTS + "/timings/plot_loss_landscape.tsv"
    group:
        "tables"
    conda:
        "../../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory("plot", "plot_loss_landscape", "dph"),
        runtime=runtime("plot", "plot_loss_landscape", "dph"),
    params:
        code=code_digest("plot_loss_landscape"),
        options=options("plot", "plot_loss_landscape", "dph"),
    message:
        "figure: the losses and their optimal margins"
    shell:
        "python workflow/scripts/plot_loss_landscape.py "
        "--output {output.png} --pdf {output.pdf} {params.options} --log {log}"


rule plot_training_curves:
    input:
        models=lambda wildcards: TARGETS.curves(wildcards.paper),
    output:
        png=shown(RESULTS + "/{paper}/figures/training_curves.png"),
        pdf=RESULTS + "/{paper}/figures/training_curves.pdf",
    log:
        "logs/plot_training_curves/{paper}.log",
    benchmark:
        RESULTS + "/timings/plot_training_curves/{paper}.tsv"
    group:
        "tables"
    conda:
        "../../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory("plot", "plot_training_curves", "paper"),
        runtime=runtime("plot", "plot_training_curves", "paper"),
    params:
        code=code_digest("plot_training_curves"),
        options=options("plot", "plot_training_curves", "paper"),
    message:
        "figure: training curves of {wildcards.paper}"
    shell:
        "python workflow/scripts/plot_training_curves.py --models {input.models} "
        "--output {output.png} --pdf {output.pdf} {params.options} --log {log}"


rule plot_task_scores:
    input:
        scores=DPH + "/scores.json",
    output:
        png=shown(RESULTS + "/dph/figures/task_scores.png"),
        pdf=RESULTS + "/dph/figures/task_scores.pdf",
    log:
        "logs/plot_task_scores.log",
    benchmark:
        RESULTS + "/timings/plot_task_scores.tsv"
    group:
        "tables"
    conda:
        "../../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory("plot", "plot_task_scores", "dph"),
        runtime=runtime("plot", "plot_task_scores", "dph"),
    params:
        code=code_digest("plot_task_scores"),
        options=options("plot", "plot_task_scores", "dph"),
        scores=lambda wildcards: TARGETS.score_words("dph"),
    message:
        "figure: accuracy of every system on every task"
    shell:
        "python workflow/scripts/plot_task_scores.py --scores {params.scores} "
        "--output {output.png} --pdf {output.pdf} {params.options} --log {log}"

# Figures of held-out pairs and of what alignment costs: matplotlib only; one rule a figure.


rule plot_reward_distributions:
    input:
        scores=DPH + "/scores.json",
    output:
        png=shown(RESULTS + "/dph/figures/reward_distributions.png"),
        pdf=RESULTS + "/dph/figures/reward_distributions.pdf",
    log:
        "logs/plot_reward_distributions.log",
    benchmark:
        RESULTS + "/timings/plot_reward_distributions.tsv"
    group:
        "tables"
    conda:
        "../../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory("plot", "plot_reward_distributions", "dph"),
        runtime=runtime("plot", "plot_reward_distributions", "dph"),
    params:
        code=code_digest("plot_reward_distributions"),
        options=options("plot", "plot_reward_distributions", "dph"),
        scores=lambda wildcards: TARGETS.score_words("dph"),
    message:
        "figure: rewards of preferred and dispreferred answers"
    shell:
        "python workflow/scripts/plot_reward_distributions.py --scores {params.scores} "
        "--output {output.png} --pdf {output.pdf} {params.options} --log {log}"


rule plot_reliability:
    input:
        scores=DPH + "/scores.json",
    output:
        png=shown(RESULTS + "/dph/figures/reliability.png"),
        pdf=RESULTS + "/dph/figures/reliability.pdf",
    log:
        "logs/plot_reliability.log",
    benchmark:
        RESULTS + "/timings/plot_reliability.tsv"
    group:
        "tables"
    conda:
        "../../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory("plot", "plot_reliability", "dph"),
        runtime=runtime("plot", "plot_reliability", "dph"),
    params:
        code=code_digest("plot_reliability"),
        options=options("plot", "plot_reliability", "dph"),
        scores=lambda wildcards: TARGETS.score_words("dph"),
    message:
        "figure: what a reward margin says about the win rate"
    shell:
        "python workflow/scripts/plot_reliability.py --scores {params.scores} "
        "--output {output.png} --pdf {output.pdf} {params.options} --log {log}"


rule plot_label_noise:
    input:
        scores=DPH + "/scores.json",
    output:
        png=shown(RESULTS + "/dph/figures/label_noise.png"),
        pdf=RESULTS + "/dph/figures/label_noise.pdf",
    log:
        "logs/plot_label_noise.log",
    benchmark:
        RESULTS + "/timings/plot_label_noise.tsv"
    group:
        "tables"
    conda:
        "../../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory("plot", "plot_label_noise", "dph"),
        runtime=runtime("plot", "plot_label_noise", "dph"),
    params:
        code=code_digest("plot_label_noise"),
        options=options("plot", "plot_label_noise", "dph"),
        scores=lambda wildcards: TARGETS.score_words("dph"),
    message:
        "figure: reward accuracy against flipped labels"
    shell:
        "python workflow/scripts/plot_label_noise.py --scores {params.scores} "
        "--output {output.png} --pdf {output.pdf} {params.options} --log {log}"


rule plot_margins:
    input:
        scores=DPH + "/scores.json",
    output:
        png=shown(RESULTS + "/dph/figures/margins.png"),
        pdf=RESULTS + "/dph/figures/margins.pdf",
    log:
        "logs/plot_margins.log",
    benchmark:
        RESULTS + "/timings/plot_margins.tsv"
    group:
        "tables"
    conda:
        "../../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory("plot", "plot_margins", "dph"),
        runtime=runtime("plot", "plot_margins", "dph"),
    params:
        code=code_digest("plot_margins"),
        options=options("plot", "plot_margins", "dph"),
        scores=lambda wildcards: TARGETS.score_words("dph"),
    message:
        "figure: gradients and measured margins"
    shell:
        "python workflow/scripts/plot_margins.py --scores {params.scores} "
        "--output {output.png} --pdf {output.pdf} {params.options} --log {log}"


rule plot_alignment_cost:
    input:
        scores=DPH + "/scores.json",
        drift=TARGETS.drift(),
    output:
        png=shown(RESULTS + "/dph/figures/alignment_cost.png"),
        pdf=RESULTS + "/dph/figures/alignment_cost.pdf",
    log:
        "logs/plot_alignment_cost.log",
    benchmark:
        RESULTS + "/timings/plot_alignment_cost.tsv"
    group:
        "tables"
    conda:
        "../../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory("plot", "plot_alignment_cost", "dph"),
        runtime=runtime("plot", "plot_alignment_cost", "dph"),
    params:
        code=code_digest("plot_alignment_cost"),
        options=options("plot", "plot_alignment_cost", "dph"),
        scores=lambda wildcards: TARGETS.score_words("dph"),
    message:
        "figure: what alignment costs the language model"
    shell:
        "python workflow/scripts/plot_alignment_cost.py --scores {params.scores} --drift {input.drift} "
        "--output {output.png} --pdf {output.pdf} {params.options} --log {log}"


rule plot_accuracy_against_kl:
    input:
        scores=DPH + "/scores.json",
        drift=TARGETS.drift(),
    output:
        png=shown(RESULTS + "/dph/figures/accuracy_against_kl.png"),
        pdf=RESULTS + "/dph/figures/accuracy_against_kl.pdf",
    log:
        "logs/plot_accuracy_against_kl.log",
    benchmark:
        RESULTS + "/timings/plot_accuracy_against_kl.tsv"
    group:
        "tables"
    conda:
        "../../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory("plot", "plot_accuracy_against_kl", "dph"),
        runtime=runtime("plot", "plot_accuracy_against_kl", "dph"),
    params:
        code=code_digest("plot_accuracy_against_kl"),
        options=options("plot", "plot_accuracy_against_kl", "dph"),
        scores=lambda wildcards: TARGETS.score_words("dph"),
    message:
        "figure: accuracy against divergence"
    shell:
        "python workflow/scripts/plot_accuracy_against_kl.py --scores {params.scores} --drift {input.drift} "
        "--output {output.png} --pdf {output.pdf} {params.options} --log {log}"

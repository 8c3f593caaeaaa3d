# The multi-task experiment of Context-PEFT: adapters trained apart, joined and tuned, against one trained jointly.


def multitask_folders(evaluated=False):
    """The data that a run's training reads, or its evaluation, by the scripts' option."""

    def of(wildcards):
        folders = PLAN.multitask_folders(wildcards.run, evaluated)
        return {name: f"{CAPTIONING}/{folder}" for name, folder in folders.items()}

    return of


def parent_folders(wildcards):
    """Model folders that a run joins."""
    run = PLAN.run(wildcards.run)
    return [run_folder(*parent) for parent in PLAN.parents(run, int(wildcards.seed))]


def question_folders(wildcards):
    """What the preparation of the questions reads beside them, by the script's option."""
    folders = PLAN.question_folders()
    apart = PLAN.question_images
    return {name: f"{RESULTS}/{folder}" for name, folder in folders.items()} | (
        {"images": apart} if apart else {}
    )


def as_options(folders):
    """The words of a command line that name these folders."""

    def of(wildcards):
        return " ".join(
            f"--{name} {folder}" for name, folder in folders(wildcards).items()
        )

    return of


rule prepare_questions:
    input:
        unpack(question_folders),
        raw=lambda wildcards: PLAN.raw("context_peft", PLAN.question_dataset),
    output:
        directory(CAPTIONING + "/data/questions"),
    log:
        "logs/prepare_questions.log",
    benchmark:
        RESULTS + "/timings/prepare_questions.tsv"
    group:
        "prepared"
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=memory("prepare_questions"),
        runtime=runtime("prepare_questions"),
    params:
        code=code_digest("prepare_questions"),
        folders=as_options(question_folders),
        options=options("prepare_questions"),
    message:
        "check the questions about images and texts"
    shell:
        "python workflow/scripts/prepare_questions.py "
        "--raw {input.raw} {params.folders} --output {output} "
        "{params.options} --threads {threads} --log {log}"


rule train_multitask:
    input:
        unpack(multitask_folders()),
        base=CAPTIONER_BASE,
        parents=parent_folders,
    output:
        directory(CAPTIONING + "/models/{run}/seed-{seed}"),
    log:
        "logs/train_multitask/{run}/seed-{seed}.log",
    benchmark:
        RESULTS + "/timings/train_multitask/{run}/seed-{seed}.tsv"
    wildcard_constraints:
        run=names_of(run.name for run in PLAN.runs("context_peft", "multitask")),
    group:
        small("multitask")
    conda:
        "../../envs/train.yaml"
    threads: PLAN.config.threads
    resources:
        mem_mb=memory("train", "run", "seed"),
        runtime=runtime("train", "run", "seed"),
        gpu=GPUS,
    params:
        code=code_digest("train_multitask"),
        folders=as_options(multitask_folders()),
        parents=lambda wildcards, input: (
            f"--parents {input.parents}" if input.parents else ""
        ),
        options=options("train", "run", "seed"),
    message:
        "multi-task training: {wildcards.run}, seed {wildcards.seed}"
    shell:
        "{LAUNCH} workflow/scripts/train_multitask.py "
        "--base {input.base} {params.folders} {params.parents} --output {output} "
        "{params.options} --threads {threads} --log {log}"


rule evaluate_multitask:
    input:
        unpack(multitask_folders(evaluated=True)),
        base=CAPTIONER_BASE,
        model=CAPTIONING + "/models/{run}/seed-{seed}",
    output:
        directory(CAPTIONING + "/multitask/{run}/seed-{seed}"),
    log:
        "logs/evaluate_multitask/{run}/seed-{seed}.log",
    benchmark:
        RESULTS + "/timings/evaluate_multitask/{run}/seed-{seed}.tsv"
    group:
        small("multitask")
    conda:
        "../../envs/train.yaml"
    threads: PLAN.config.threads
    resources:
        mem_mb=memory("evaluate_multitask", "run", "seed"),
        runtime=runtime("evaluate_multitask", "run", "seed"),
        gpu=GPU,
    params:
        code=code_digest("evaluate_multitask"),
        folders=as_options(multitask_folders(evaluated=True)),
        options=options("evaluate_multitask", "run", "seed"),
    message:
        "captions, text questions and visual questions by {wildcards.run}, seed {wildcards.seed}"
    shell:
        "python workflow/scripts/evaluate_multitask.py "
        "--base {input.base} {params.folders} --model {input.model} --output {output} "
        "{params.options} --threads {threads} --log {log}"


rule tabulate_multitask:
    input:
        scores=TARGETS.multitask(),
    output:
        csv=shown(CAPTIONING + "/tables/multitask.csv"),
        markdown=CAPTIONING + "/tables/multitask.md",
        latex=CAPTIONING + "/tables/multitask.tex",
        audit=CAPTIONING + "/tables/multitask.audit.json",
    log:
        "logs/tabulate_multitask.log",
    benchmark:
        RESULTS + "/timings/tabulate_multitask.tsv"
    group:
        "tables"
    conda:
        "../../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory("tabulate_multitask"),
        runtime=runtime("tabulate_multitask"),
    params:
        code=code_digest("tabulate_multitask"),
        options=options("tabulate_multitask"),
    message:
        "table multitask: parts apart, joined and tuned, and trained jointly"
    shell:
        "python workflow/scripts/tabulate_multitask.py --scores {input.scores} "
        "--output {output.csv} --markdown {output.markdown} --latex {output.latex} --audit {output.audit} "
        "{params.options} --log {log}"

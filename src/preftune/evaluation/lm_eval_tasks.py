"""Tasks of ours and lm-eval's definitions of them, in its folder of tasks."""

LM_EVAL_TASKS = {
    "cola": "glue/cola/default.yaml",
    "sst2": "glue/sst2/default.yaml",
    "mrpc": "glue/mrpc/default.yaml",
    "qqp": "glue/qqp/default.yaml",
    "mnli-matched": "glue/mnli/default.yaml",
    "mnli-mismatched": "glue/mnli/default.yaml",
    "mnli-validation": "glue/mnli/default.yaml",
    "qnli": "glue/qnli/default.yaml",
    "rte": "glue/rte/default.yaml",
    "wnli": "glue/wnli/default.yaml",
    "race-high": "race/race.yaml",
    "race-high-validation": "race/race.yaml",
    "hellaswag": "hellaswag/hellaswag.yaml",
    "openbookqa": "openbookqa/openbookqa.yaml",
    "winogrande": "winogrande/default.yaml",
    "arc-easy": "arc/arc_easy.yaml",
    "arc-challenge": "arc/arc_challenge.yaml",
    "boolq": "super_glue/boolq/default.yaml",
    "piqa": "piqa/piqa.yaml",
}

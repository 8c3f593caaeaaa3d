"""Scores of one system on every task: log-probability and, with a head, reward, from the same forward pass.

Inputs: a base model folder, a checkpoint (absent: the base model itself) and the prepared data sets. Output:
a folder with `<task>.json` (metrics) and `<task>.parquet` (one row a candidate) for every task.
"""

import _repo  # noqa: F401
from pathlib import Path

import pandas as pd

from preftune.data.tasks.base import Task
from preftune.data.tasks.registry import find_tasks
from preftune.evaluation.metrics import compute_metrics, count_ties
from preftune.evaluation.scoring import encode_questions, read_questions, score_questions
from preftune.files import write_json
from preftune.models.language import resolve_device, resolve_dtype
from preftune.preference.heads import PreferenceModel
from preftune.settings import EvaluationSettings
from preftune.command_line import step_parser
from preftune.step import Step


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--base", type=Path, required=True, help="folder of the base language model")
    parser.add_argument(
        "--model", type=Path, help="folder of the checkpoint; absent: the base model is evaluated"
    )
    parser.add_argument(
        "--datasets", type=Path, nargs="+", required=True, help="folders of the prepared data sets"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of the scores")
    with Step.start(parser, argv, rule="evaluate_tasks", inputs=("base", "model", "datasets")) as step:
        evaluate(step)


def evaluate(step: Step) -> None:
    """Score every task and write its table and metrics."""
    arguments, settings = step.arguments, step.settings(EvaluationSettings)
    tasks = find_tasks(settings.tasks)
    questions = {task.name: read_questions(task, arguments.datasets, settings.limit) for task in tasks}
    device = resolve_device(arguments.device)
    dtype = resolve_dtype(settings.dtype, device)
    folder = arguments.model or arguments.base
    model = PreferenceModel.from_pretrained(folder, arguments.base, device, dtype)
    output = step.out()
    output.mkdir(parents=True)
    # Every question is read and encoded before any is scored, so that a bad row costs no time.
    encoded = {name: encode_questions(model, rows, settings.long) for name, rows in questions.items()}
    truncated = {name: cut for name, (_, cut) in encoded.items() if cut}
    candidates = 0
    for task in tasks:
        trees, _ = encoded[task.name]
        table = score_questions(model, questions[task.name], trees, settings.tokens_per_pass, task.name)
        table.to_parquet(output / f"{task.name}.parquet", index=False)
        write_json(output / f"{task.name}.json", summarise(task, table, with_reward=model.head is not None))
        candidates += len(table)
    step.note(
        tasks=len(tasks),
        candidates=candidates,
        truncated=truncated,
        dtype=str(dtype),
        reward_head=model.head is not None,
    )


def summarise(task: Task, table: pd.DataFrame, with_reward: bool) -> dict[str, object]:
    """The metrics of one task under each score, with the number of ties that the first candidate won."""
    scores = ("log", "reward") if with_reward else ("log",)
    return {
        "task": task.name,
        "suite": task.suite,
        "split": task.split,
        "n": int(table["document"].nunique()),
        "metrics": {score: compute_metrics(table, task.metrics, score) for score in scores},
        "ties": {score: count_ties(table, score) for score in scores},
    }


if __name__ == "__main__":
    main()

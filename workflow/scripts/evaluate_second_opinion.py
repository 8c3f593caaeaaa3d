"""lm-eval's own scorer on the same model and questions as ours; a clear disagreement is an error.

Inputs: a base model folder, a checkpoint (absent: the base model itself) and the prepared data sets. Output:
a JSON file with, for every task, both scores and predictions of every document, their largest difference and their
agreement: as chats with the template set of --templates, and as plain texts with lm-eval's own tasks.
"""

import _repo  # noqa: F401
from pathlib import Path

from preftune.command_line import step_parser
from preftune.data.prepared import open_split
from preftune.data.tasks.registry import find_tasks
from preftune.data.templates import add_templates_option
from preftune.evaluation.scoring import read_questions
from preftune.evaluation.second_opinion import compare_chats, compare_texts
from preftune.files import write_json
from preftune.models.devices import resolve_device, resolve_dtype
from preftune.preference.heads import PreferenceModel
from preftune.settings.evaluation import SecondOpinionSettings
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
    parser.add_argument("--output", type=Path, required=True, help="JSON file of the comparisons")
    add_templates_option(parser)
    inputs = ("base", "model", "datasets", "templates")
    with Step.start(parser, argv, rule="evaluate_second_opinion", inputs=inputs) as step:
        compare(step)


def compare(step: Step) -> None:
    """Score every task twice and write the comparisons."""
    arguments, settings = step.arguments, step.settings(SecondOpinionSettings)
    chats = find_tasks(settings.chats, str(arguments.templates))
    texts = find_tasks(settings.texts, "lm-eval")
    folders = {folder.name: folder for folder in arguments.datasets}
    device = resolve_device(arguments.device)
    dtype = resolve_dtype(settings.dtype, device)
    model = PreferenceModel.from_pretrained(arguments.model or arguments.base, arguments.base, device, dtype)
    found = []
    for task in chats:
        questions = read_questions(task, arguments.datasets, settings.limit)
        found.append((task, compare_chats(model, questions, settings.batch)))
    for task in texts:
        rows = open_split(task.dataset, task.split, folders, f"the task {task.name}")
        found.append((task, compare_texts(model, task, rows, settings.limit, settings.batch)))
    comparisons = [
        {"task": task.name, "templates": task.template.set_name, **result} for task, result in found
    ]
    write_json(step.out(), {"comparisons": comparisons})
    step.note(
        tasks=len(comparisons),
        n=sum(result["n"] for _, result in found),
        max_difference=max((result["max_difference"] for _, result in found), default=0.0),
        close=sum(len(result["close"]) for _, result in found),
        dtype=str(dtype),
    )


if __name__ == "__main__":
    main()

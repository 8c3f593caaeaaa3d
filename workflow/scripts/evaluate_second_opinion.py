"""lm-eval's own scorer on the same model, questions and prompts as ours; a clear disagreement is an error.

Inputs: a base model folder, a checkpoint (absent: the base model itself) and the prepared data sets. Output:
a JSON file with both scores and predictions of every document, their largest difference and their agreement.
"""

import _repo  # noqa: F401
from pathlib import Path

from preftune.data.tasks.registry import find_tasks
from preftune.evaluation.scoring import read_questions
from preftune.evaluation.second_opinion import compare_with_lm_eval
from preftune.files import write_json
from preftune.models.devices import resolve_device, resolve_dtype
from preftune.preference.heads import PreferenceModel
from preftune.settings.evaluation import SecondOpinionSettings
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
    parser.add_argument("--output", type=Path, required=True, help="JSON file of the comparison")
    with Step.start(
        parser, argv, rule="evaluate_second_opinion", inputs=("base", "model", "datasets")
    ) as step:
        compare(step)


def compare(step: Step) -> None:
    """Score one task twice and write the comparison."""
    arguments, settings = step.arguments, step.settings(SecondOpinionSettings)
    (task,) = find_tasks([settings.task])
    questions = read_questions(task, arguments.datasets, settings.limit)
    device = resolve_device(arguments.device)
    dtype = resolve_dtype(settings.dtype, device)
    folder = arguments.model or arguments.base
    model = PreferenceModel.from_pretrained(folder, arguments.base, device, dtype)
    result = {"task": task.name, **compare_with_lm_eval(model, questions, settings.batch)}
    write_json(step.out(), result)
    step.note(
        n=result["n"],
        max_difference=result["max_difference"],
        agreement=result["agreement"],
        dtype=str(dtype),
    )


if __name__ == "__main__":
    main()

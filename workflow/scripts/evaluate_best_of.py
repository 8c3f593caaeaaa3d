"""Best of n by reward, log score and implicit reward against greedy answers, chance and an oracle, on closed questions.

Inputs: a base model folder, the run's checkpoint with its reward head, the checkpoint that it started from where its language
model was trained on (for implicit rewards), and the prepared data sets. Outputs: best_of.json (the template set; by task:
prompts, the shares of right answers random, greedy, reward@n, log@n, implicit@n and oracle@n for n = 1, 2, 4, ... and all
samples, with disagree, and skipped questions by reason: long_answer, long_prompt, not_distinct) and best_of.parquet, one row an
answer: task, document, sample, text, tokens, ended, reward, log, implicit, right, greedy.
"""

import _repo  # noqa: F401
from pathlib import Path

import pandas as pd

from preftune.data.tasks.registry import find_tasks
from preftune.data.templates import add_templates_option
from preftune.evaluation.best_of import answer_questions, select_questions
from preftune.evaluation.choices import summarise_choices
from preftune.evaluation.scoring import read_questions
from preftune.files import write_json
from preftune.models.devices import computing_in, resolve_device, resolve_dtype
from preftune.preference.heads import PreferenceModel
from preftune.settings.best_of import BestOfSettings
from preftune.command_line import step_parser
from preftune.step import Step


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--base", type=Path, required=True, help="folder of the base language model")
    parser.add_argument("--model", type=Path, required=True, help="folder of the checkpoint with its head")
    parser.add_argument(
        "--reference", type=Path, help="folder of the checkpoint that the language model was aligned from"
    )
    parser.add_argument(
        "--datasets", type=Path, nargs="+", required=True, help="folders of the prepared data sets"
    )
    parser.add_argument("--output", type=Path, required=True, help="JSON of the shares of right answers")
    parser.add_argument("--items", type=Path, required=True, help="parquet table of the answers")
    add_templates_option(parser)
    inputs = ("base", "model", "reference", "datasets", "templates")
    with Step.start(
        parser, argv, rule="evaluate_best_of", inputs=inputs, outputs=("output", "items")
    ) as step:
        evaluate(step)


def evaluate(step: Step) -> None:
    """Write, reward and judge the answers to every task's questions."""
    arguments, settings = step.arguments, step.settings(BestOfSettings)
    tasks = find_tasks(settings.tasks, str(arguments.templates))
    questions = {task.name: read_questions(task, arguments.datasets, settings.prompts) for task in tasks}
    device = resolve_device(arguments.device)
    dtype = resolve_dtype(settings.dtype, device)
    model = PreferenceModel.from_pretrained(arguments.model, arguments.base, device, dtype, exact=True)
    reference = None
    if arguments.reference is not None:
        reference = PreferenceModel.from_pretrained(
            arguments.reference, arguments.base, device, dtype, exact=True
        )
    selected = {
        name: select_questions(model, rows, settings.max_new_tokens) for name, rows in questions.items()
    }
    # Task by task: a batch of short answers is finished after a few tokens.
    with computing_in(device, dtype):
        tables = [
            answer_questions(model, selection.questions, settings, arguments.seed, reference)
            for selection in selected.values()
        ]
    answers = pd.concat(tables, ignore_index=True)
    skipped = {name: selection.skipped for name, selection in selected.items()}
    by_task = {
        name: {**found, "skipped": skipped[name]} for name, found in summarise_choices(answers).items()
    }
    template = tasks[0].template  # all are of one set
    answers.to_parquet(step.out("items"), index=False)
    write_json(
        step.out(),
        {
            "count": settings.count,
            "split": "+".join(sorted({task.split for task in tasks})),
            "templates": {"name": template.set_name, "sha256": template.sha256},
            "tasks": by_task,
        },
    )
    step.note(
        prompts=sum(len(selection.questions) for selection in selected.values()),
        answers=len(answers),
        skipped={name: reasons for name, reasons in skipped.items() if reasons},
        dtype=str(dtype),
    )


if __name__ == "__main__":
    main()

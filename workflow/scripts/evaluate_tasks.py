"""Scores of one system on every task: log-probability and, with a head, reward, from the same forward pass.

Inputs: a base model folder, a checkpoint (absent: the base model itself), the prepared data sets and, for an aligned
model, the scores of the SFT model that it started from, against which its implicit rewards are taken. Output: a folder
with `<task>.json` (metrics) and `<task>.parquet` (one row a candidate) for every task, and with states: true
`states.safetensors`: by task what a reward head would read of every candidate.
"""

import _repo  # noqa: F401
from pathlib import Path

from safetensors.torch import save_file

from preftune.data.tasks.registry import find_tasks
from preftune.evaluation.files import STATES_FILE, log_ratios, read_scores, write_scores
from preftune.evaluation.scoring import encode_questions, read_questions, score_questions
from preftune.models.devices import computing_in, resolve_device, resolve_dtype
from preftune.preference.heads import PreferenceModel
from preftune.settings.evaluation import EvaluationSettings
from preftune.command_line import step_parser
from preftune.step import Step


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--base", type=Path, required=True, help="folder of the base language model")
    parser.add_argument(
        "--model", type=Path, help="folder of the checkpoint; absent: the base model is evaluated"
    )
    parser.add_argument(
        "--reference", type=Path, help="score folder of the SFT model that this one started from"
    )
    parser.add_argument(
        "--datasets", type=Path, nargs="+", required=True, help="folders of the prepared data sets"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of the scores")
    inputs = ("base", "model", "reference", "datasets")
    with Step.start(parser, argv, rule="evaluate_tasks", inputs=inputs) as step:
        evaluate(step)


def evaluate(step: Step) -> None:
    """Score every task and write its table and metrics."""
    arguments, settings = step.arguments, step.settings(EvaluationSettings)
    tasks = find_tasks(settings.tasks)
    questions = {task.name: read_questions(task, arguments.datasets, settings.limit) for task in tasks}
    device = resolve_device(arguments.device)
    dtype = resolve_dtype(settings.dtype, device)
    folder = arguments.model or arguments.base
    exact = arguments.model is not None
    model = PreferenceModel.from_pretrained(folder, arguments.base, device, dtype, exact=exact)
    output = step.out()
    output.mkdir(parents=True)
    # Every question is read and encoded before any is scored, so that a bad row costs no time.
    encoded = {name: encode_questions(model, rows, settings.long) for name, rows in questions.items()}
    candidates, states = 0, {}
    for task in tasks:
        kept = encoded[task.name]
        with computing_in(device, dtype):
            scored = score_questions(
                model, kept.questions, kept.trees, settings.tokens_per_pass, task.name, settings.states
            )
        reference = read_scores(arguments.reference, task.name) if arguments.reference else None
        scored.table.insert(7, "log_ratio", log_ratios(scored.table, reference))
        write_scores(task, scored.table, output)
        candidates += len(scored.table)
        if scored.states is not None:
            states[task.name] = scored.states
    if states:
        save_file(states, output / STATES_FILE)
    step.note(
        tasks=len(tasks),
        candidates=candidates,
        truncated={name: found.truncated for name, found in encoded.items() if found.truncated},
        skipped={name: found.skipped for name, found in encoded.items() if found.skipped},
        dtype=str(dtype),
        reward_head=model.head is not None,
    )


if __name__ == "__main__":
    main()

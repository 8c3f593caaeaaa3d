"""All tasks of one checkpoint in one process: what `evaluate_tasks` and `evaluate_submission` do."""

from argparse import ArgumentParser
from pathlib import Path

from safetensors.torch import save_file

from preftune.data.tasks.registry import find_tasks
from preftune.data.templates import add_templates_option
from preftune.evaluation.files import STATES_FILE, check_wording, log_ratios, read_scores, write_scores
from preftune.evaluation.scoring import encode_questions, read_questions, score_questions
from preftune.models.devices import computing_in, resolve_device, resolve_dtype
from preftune.preference.heads import PreferenceModel
from preftune.settings.evaluation import EvaluationSettings
from preftune.step import Step


def add_options(parser: ArgumentParser) -> None:
    """Give a step the options that `evaluate` reads, but for the reference."""
    parser.add_argument("--base", type=Path, required=True, help="folder of the base language model")
    parser.add_argument(
        "--model", type=Path, help="folder of the checkpoint; absent: the base model is evaluated"
    )
    parser.add_argument(
        "--datasets", type=Path, nargs="+", required=True, help="folders of the prepared data sets"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of the scores")
    add_templates_option(parser)


def evaluate(step: Step) -> None:
    """Score every task and write its table and metrics into the step's folder.

    The step's arguments: base, model (None: the base model itself), reference (score folder, or None), datasets, templates.
    """
    arguments, settings = step.arguments, step.settings(EvaluationSettings)
    tasks = find_tasks(settings.tasks, str(arguments.templates))
    questions = {task.name: read_questions(task, arguments.datasets, settings.limit) for task in tasks}
    device = resolve_device(arguments.device)
    dtype = resolve_dtype(settings.dtype, device)
    folder = arguments.model or arguments.base
    exact = arguments.model is not None
    model = PreferenceModel.from_pretrained(folder, arguments.base, device, dtype, exact=exact)
    if tasks[0].template.format == "text":
        # A head reads at <|im_end|>, which a plain text has not: log-probabilities alone.
        model.head = None
    output = step.out()
    output.mkdir(parents=True)
    # Every question is read and encoded before any is scored, so that a bad row costs no time.
    encoded = {name: encode_questions(model, rows, settings.long) for name, rows in questions.items()}
    candidates, states = 0, {}
    for task in tasks:
        kept = encoded[task.name]
        with computing_in(device, dtype):
            scored = score_questions(model, kept, settings.tokens_per_pass, task.name, settings.states)
        reference = None
        if arguments.reference:
            check_wording(task, arguments.reference)
            reference = read_scores(arguments.reference, task.name)
        scored.table.insert(7, "log_ratio", log_ratios(scored.table, reference))
        write_scores(task, scored.table, output, kept.counts)
        candidates += len(scored.table)
        if scored.states is not None:
            states[task.name] = scored.states
    if states:
        save_file(states, output / STATES_FILE)
    counts = {name: {key: n for key, n in found.counts.items() if n} for name, found in encoded.items()}
    step.note(
        tasks=len(tasks),
        templates=tasks[0].template.set_name,
        candidates=candidates,
        counts={name: found for name, found in counts.items() if found},
        dtype=str(dtype),
        reward_head=model.head is not None,
    )

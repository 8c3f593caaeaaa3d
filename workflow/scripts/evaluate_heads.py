"""Scores of a run whose language model is the SFT model's to the last bit: only the rewards are new.

Inputs: the run's folder with its reward head, and the scores of the SFT model with the states that a head reads. Output: a
folder as evaluate_tasks writes it; log-probabilities are those of the SFT model, rewards the head's on its states.
"""

import _repo  # noqa: F401
from pathlib import Path

import torch
from safetensors.torch import load_file

from preftune.data.tasks.registry import find_tasks
from preftune.data.templates import add_templates_option
from preftune.errors import PreftuneError
from preftune.evaluation.files import STATES_FILE, check_wording, read_counts, read_scores, write_scores
from preftune.preference.reward_head import load_head
from preftune.settings.evaluation import EvaluationSettings
from preftune.command_line import step_parser
from preftune.step import Step


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder of the run, with its reward head")
    parser.add_argument(
        "--reference", type=Path, required=True, help="score folder of the SFT model, made with states: true"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of the scores")
    add_templates_option(parser)
    inputs = ("model", "reference", "templates")
    with Step.start(parser, argv, rule="evaluate_heads", inputs=inputs) as step:
        evaluate(step)


@torch.no_grad()
def evaluate(step: Step) -> None:
    """Put the head's rewards into every task's table."""
    arguments, settings = step.arguments, step.settings(EvaluationSettings)
    path = arguments.reference / STATES_FILE
    if not path.is_file():
        raise PreftuneError(f"{path} does not exist; evaluate the SFT model with states: true.")
    states, head = load_file(path), load_head(arguments.model).eval()
    output = step.out()
    output.mkdir(parents=True)
    candidates = 0
    for task in find_tasks(settings.tasks, str(arguments.templates)):
        check_wording(task, arguments.reference)
        table = read_scores(arguments.reference, task.name)
        (rewards,) = head(states[task.name]).values()
        counts = read_counts(arguments.reference, task.name)
        write_scores(task, table.assign(reward=rewards.double().numpy()), output, counts)
        candidates += len(table)
    step.note(tasks=len(settings.tasks), candidates=candidates, reward_head=True)


if __name__ == "__main__":
    main()

"""Count the evaluation's questions that also stand in the training splits of the mixes' tasks.

Inputs: prepared data set folders. Output: one JSON object, task -> questions, same_prompt, same_prompt_and_answer,
ngram_questions, shared_ngrams (numbers of questions; texts compared without case, punctuation and white space).
"""

from pathlib import Path

import _repo  # noqa: F401
from datasets import disable_progress_bars
from preftune.command_line import step_parser
from preftune.data.overlap import count_overlap, read_evaluation, read_training
from preftune.data.tasks.registry import find_tasks
from preftune.data.templates import add_templates_option
from preftune.files import write_json
from preftune.settings.data import OverlapSettings
from preftune.step import Step


def main(argv: list[str] | None = None) -> None:
    """Count the overlap."""
    parser = step_parser(__doc__)
    parser.add_argument("--datasets", type=Path, nargs="+", required=True, help="prepared data set folders")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    add_templates_option(parser)
    disable_progress_bars()
    with Step.start(parser, argv, rule="compute_overlap", inputs=("datasets", "templates")) as step:
        settings = step.settings(OverlapSettings)
        templates = str(step.arguments.templates)
        folders = {folder.name: folder for folder in step.arguments.datasets}
        evaluation = read_evaluation(find_tasks(settings.evaluation, templates), folders, settings.limit)
        counts = count_overlap(evaluation, read_training(find_tasks(settings.train, templates), folders))
        write_json(step.out(), counts)
        step.note(questions=sum(count["questions"] for count in counts.values()))


if __name__ == "__main__":
    main()

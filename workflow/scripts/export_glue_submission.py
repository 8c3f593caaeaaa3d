"""One run's answers to the hidden test splits as the zip of TSV files that the GLUE server takes, checked before it is kept.

Input: the run's score folder of the test splits. Output: the zip, for the score that the settings name.
"""

import _repo  # noqa: F401
from pathlib import Path

from preftune.evaluation.submission import check_submission, read_predictions, write_submission
from preftune.settings.submission import GlueFileSettings
from preftune.command_line import step_parser
from preftune.step import Step


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--scores", type=Path, required=True, help="score folder of the test splits")
    parser.add_argument("--output", type=Path, required=True, help="zip to write")
    with Step.start(parser, argv, rule="export_glue_submission", inputs=("scores",)) as step:
        export(step)


def export(step: Step) -> None:
    """Write and check the zip."""
    settings = step.settings(GlueFileSettings)
    predictions = read_predictions(step.arguments.scores, settings.score)
    rows = {task: len(labels) for task, labels in predictions.items()}
    write_submission(step.out(), predictions)
    check_submission(step.out(), rows if settings.counts is None else settings.counts)
    if settings.counts is None:
        step.warn("no official counts were given: the server takes whole test splits only")
    step.note(rows=rows, whole=settings.counts is not None)


if __name__ == "__main__":
    main()

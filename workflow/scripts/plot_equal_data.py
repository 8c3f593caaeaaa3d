"""Draw perplexity and CIDEr against the number of training images, each method at its own learning rate.

Inputs: score folders, records of the trainings (`<run>/seed-<n>/run.json`), which state the numbers of images. Outputs: the figure
as PNG and PDF.
"""

import _repo  # noqa: F401

from collections.abc import Sequence
from pathlib import Path

from preftune.command_line import step_parser
from preftune.figures.equal_data import draw_equal_data
from preftune.figures.settings import EqualDataFigureSettings
from preftune.figures.style import save_figure
from preftune.step import Step


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, draw and write the figure."""
    parser = step_parser(__doc__)
    parser.add_argument(
        "--scores",
        type=Path,
        nargs="*",
        default=[],
        help="score folders <run>/seed-<n>/ with validation.json",
    )
    parser.add_argument("--records", type=Path, nargs="*", default=[], help="run.json of trained captioners")
    parser.add_argument("--output", type=Path, required=True, help="PNG of the figure")
    parser.add_argument("--pdf", type=Path, required=True, help="PDF of the figure")
    with Step.start(
        parser, argv, rule="plot_equal_data", inputs=("scores", "records"), outputs=("output", "pdf")
    ) as step:
        settings = step.settings(EqualDataFigureSettings)
        figure = draw_equal_data(step.arguments.scores, step.arguments.records, settings)
        save_figure(figure, step.out("output"), step.out("pdf"), step.fingerprint)


if __name__ == "__main__":
    main()

"""Draw the gradients of the DPH losses against the margin, and the margins of trained runs on held-out pairs.

Inputs: score folders <run>/seed-<n>/ with the tasks of the suite `preference`. Outputs: the figure as PNG and PDF.
"""

import _repo  # noqa: F401

from collections.abc import Sequence
from pathlib import Path

from preftune.figures.margins import draw_margins
from preftune.figures.settings import MarginFigureSettings
from preftune.figures.style import save_figure
from preftune.command_line import step_parser
from preftune.step import Step


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, draw and write the figure."""
    parser = step_parser(__doc__)
    parser.add_argument(
        "--scores",
        type=Path,
        nargs="+",
        required=True,
        help="score folders <run>/seed-<n>/ with <task>.json and <task>.parquet",
    )
    parser.add_argument("--output", type=Path, required=True, help="PNG of the figure")
    parser.add_argument("--pdf", type=Path, required=True, help="PDF of the figure")
    with Step.start(parser, argv, rule="plot_margins", inputs=("scores",), outputs=("output", "pdf")) as step:
        settings = step.settings(MarginFigureSettings)
        figure = draw_margins(step.arguments.scores, settings)
        save_figure(figure, step.out("output"), step.out("pdf"))


if __name__ == "__main__":
    main()

"""Draw the share of right answers among those that are chosen from n samples, by what chooses.

Inputs: folders <run>/seed-<n>/ with best_of.json and best_of.parquet. Outputs: the figure as PNG and PDF.
"""

import _repo  # noqa: F401

from collections.abc import Sequence
from pathlib import Path

from preftune.command_line import step_parser
from preftune.figures.best_of import draw_best_of
from preftune.figures.style import save_figure
from preftune.settings.report import FigureSettings
from preftune.step import Step


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, draw and write the figure."""
    parser = step_parser(__doc__)
    parser.add_argument(
        "--best-of", type=Path, nargs="+", required=True, help="best_of.json of each run and seed"
    )
    parser.add_argument("--output", type=Path, required=True, help="PNG of the figure")
    parser.add_argument("--pdf", type=Path, required=True, help="PDF of the figure")
    with Step.start(
        parser, argv, rule="plot_best_of", inputs=("best_of",), outputs=("output", "pdf")
    ) as step:
        figure = draw_best_of(step.arguments.best_of, step.settings(FigureSettings))
        save_figure(figure, step.out("output"), step.out("pdf"), step.fingerprint)


if __name__ == "__main__":
    main()

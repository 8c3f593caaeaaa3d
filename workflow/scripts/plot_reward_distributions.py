"""Draw the rewards of preferred and dispreferred held-out answers of each run.

Inputs: score folders <run>/seed-<n>/ with the tasks of the suite `preference`. Outputs: the figure as PNG and PDF.
"""

import _repo  # noqa: F401

from collections.abc import Sequence
from pathlib import Path

from preftune.figures.pairs import draw_reward_distributions
from preftune.figures.settings import PairFigureSettings
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
    with Step.start(
        parser, argv, rule="plot_reward_distributions", inputs=("scores",), outputs=("output", "pdf")
    ) as step:
        settings = step.settings(PairFigureSettings)
        figure = draw_reward_distributions(step.arguments.scores, settings)
        save_figure(figure, step.out("output"), step.out("pdf"))


if __name__ == "__main__":
    main()

"""Draw accuracy on held-out pairs against the divergence of the language model from SFT.

Inputs: score folders <run>/seed-<n>/ and drift folders <run>/seed-<n>/ with drift.json and drift.parquet. Outputs: the
figure as PNG and PDF.
"""

import _repo  # noqa: F401

from collections.abc import Sequence
from pathlib import Path

from preftune.figures.divergence import draw_accuracy_against_kl
from preftune.figures.settings import DriftFigureSettings
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
    parser.add_argument(
        "--drift",
        type=Path,
        nargs="+",
        required=True,
        help="drift folders <run>/seed-<n>/ with drift.json and drift.parquet",
    )
    parser.add_argument("--output", type=Path, required=True, help="PNG of the figure")
    parser.add_argument("--pdf", type=Path, required=True, help="PDF of the figure")
    with Step.start(
        parser, argv, rule="plot_accuracy_against_kl", inputs=("scores", "drift"), outputs=("output", "pdf")
    ) as step:
        settings = step.settings(DriftFigureSettings)
        figure = draw_accuracy_against_kl(step.arguments.scores, step.arguments.drift, settings)
        save_figure(figure, step.out("output"), step.out("pdf"))


if __name__ == "__main__":
    main()

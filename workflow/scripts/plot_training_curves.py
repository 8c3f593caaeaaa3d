"""Draw rewards, margin, accuracy and loss of training runs.

Inputs: model folders <run>/seed-<n>/ with metrics.jsonl. Outputs: the figure as PNG and PDF.
"""

import _repo  # noqa: F401

from collections.abc import Sequence
from pathlib import Path

from preftune.figures.training import draw_training_curves
from preftune.figures.settings import CurveSettings
from preftune.figures.style import save_figure
from preftune.command_line import step_parser
from preftune.step import Step


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, draw and write the figure."""
    parser = step_parser(__doc__)
    parser.add_argument(
        "--models",
        type=Path,
        nargs="+",
        required=True,
        help="model folders <run>/seed-<n>/ with metrics.jsonl",
    )
    parser.add_argument("--output", type=Path, required=True, help="PNG of the figure")
    parser.add_argument("--pdf", type=Path, required=True, help="PDF of the figure")
    with Step.start(
        parser, argv, rule="plot_training_curves", inputs=("models",), outputs=("output", "pdf")
    ) as step:
        settings = step.settings(CurveSettings)
        figure = draw_training_curves(step.arguments.models, settings)
        save_figure(figure, step.out("output"), step.out("pdf"), step.fingerprint)


if __name__ == "__main__":
    main()

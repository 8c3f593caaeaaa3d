"""Draw the attention of caption words over their images (Context-PEFT Figure 6).

Inputs: .npz of maps, prepared captions, images. Outputs: the figure as PNG and PDF.
"""

import _repo  # noqa: F401

from collections.abc import Sequence
from pathlib import Path

from preftune.figures.attention import draw_attention
from preftune.figures.settings import AttentionFigureSettings
from preftune.figures.style import save_figure
from preftune.command_line import step_parser
from preftune.step import Step


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, draw and write the figure."""
    parser = step_parser(__doc__)
    parser.add_argument(
        "--attention",
        type=Path,
        required=True,
        help=".npz written by compute_attention",
    )
    parser.add_argument("--images", type=Path, required=True, help="folder below which the image files lie")
    parser.add_argument(
        "--index", type=Path, required=True, help="folder of prepared captions with images.parquet"
    )
    parser.add_argument("--output", type=Path, required=True, help="PNG of the figure")
    parser.add_argument("--pdf", type=Path, required=True, help="PDF of the figure")
    with Step.start(
        parser, argv, rule="plot_attention", inputs=("attention", "index"), outputs=("output", "pdf")
    ) as step:
        settings = step.settings(AttentionFigureSettings)
        figure = draw_attention(
            step.arguments.attention, step.arguments.images, step.arguments.index, settings
        )
        save_figure(figure, step.out("output"), step.out("pdf"), step.fingerprint)


if __name__ == "__main__":
    main()

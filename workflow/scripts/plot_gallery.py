"""Draw test images with their generated captions and one reference each.

Inputs: captions files, images. Outputs: the figure as PNG and PDF.
"""

import _repo  # noqa: F401

from collections.abc import Sequence
from pathlib import Path

from preftune.figures.gallery import draw_gallery
from preftune.figures.settings import GallerySettings
from preftune.figures.style import save_figure
from preftune.command_line import step_parser
from preftune.step import Step


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, draw and write the figure."""
    parser = step_parser(__doc__)
    parser.add_argument(
        "--captions", type=Path, nargs="+", required=True, help="captions files <run>/seed-<n>.jsonl"
    )
    parser.add_argument("--images", type=Path, required=True, help="folder below which the image files lie")
    parser.add_argument("--output", type=Path, required=True, help="PNG of the figure")
    parser.add_argument("--pdf", type=Path, required=True, help="PDF of the figure")
    with Step.start(
        parser, argv, rule="plot_gallery", inputs=("captions",), outputs=("output", "pdf")
    ) as step:
        settings = step.settings(GallerySettings)
        figure = draw_gallery(step.arguments.captions, step.arguments.images, settings)
        save_figure(figure, step.out("output"), step.out("pdf"), step.fingerprint)


if __name__ == "__main__":
    main()

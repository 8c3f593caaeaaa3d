"""Draw the loss landscapes of the separable and the contrastive DPH loss (DPH paper, Figure 1).

No inputs. Outputs: the figure as PNG and PDF.
"""

import _repo  # noqa: F401

from collections.abc import Sequence
from pathlib import Path

from preftune.figures.losses import draw_loss_landscape
from preftune.figures.settings import LandscapeSettings
from preftune.figures.style import Stamp, save_figure
from preftune.command_line import step_parser
from preftune.step import Step


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, draw and write the figure."""
    parser = step_parser(__doc__)
    parser.add_argument("--output", type=Path, required=True, help="PNG of the figure")
    parser.add_argument("--pdf", type=Path, required=True, help="PDF of the figure")
    with Step.start(parser, argv, rule="plot_loss_landscape", outputs=("output", "pdf")) as step:
        settings = step.settings(LandscapeSettings)
        stamp = Stamp("none (closed form)", settings.scale)
        figure = draw_loss_landscape(settings.epsilons, settings.reward_limit, stamp)
        save_figure(figure, step.out("output"), step.out("pdf"), step.fingerprint)


if __name__ == "__main__":
    main()

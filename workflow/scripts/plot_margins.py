"""Draw the gradients of the DPH losses against the margin, and the margins of trained runs on held-out pairs.

Inputs: score folders <run>/seed-<n>/ with the tasks of the suite `preference`. Outputs: the figure as PNG and PDF.
"""

import _repo  # noqa: F401

from collections.abc import Sequence

from preftune.figures.command import draw_from_scores
from preftune.figures.margins import draw_margins
from preftune.figures.settings import MarginFigureSettings


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, draw and write the figure."""
    draw_from_scores(__doc__, argv, "plot_margins", MarginFigureSettings, draw_margins)


if __name__ == "__main__":
    main()

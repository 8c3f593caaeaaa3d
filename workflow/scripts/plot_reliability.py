"""Draw predicted against observed preferences of held-out pairs of each run.

Inputs: score folders <run>/seed-<n>/ with the tasks of the suite `preference`. Outputs: the figure as PNG and PDF.
"""

import _repo  # noqa: F401

from collections.abc import Sequence

from preftune.figures.command import draw_from_scores
from preftune.figures.reliability import draw_reliability
from preftune.figures.settings import ReliabilityFigureSettings


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, draw and write the figure."""
    draw_from_scores(__doc__, argv, "plot_reliability", ReliabilityFigureSettings, draw_reliability)


if __name__ == "__main__":
    main()

"""Draw the accuracy of rewards on held-out pairs against the flipped share of the training pairs.

Inputs: score folders <run>/seed-<n>/ with the tasks of the suite `preference`. Outputs: the figure as PNG and PDF.
"""

import _repo  # noqa: F401

from collections.abc import Sequence

from preftune.figures.command import draw_from_scores
from preftune.figures.noise import draw_label_noise
from preftune.figures.settings import NoiseFigureSettings


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, draw and write the figure."""
    draw_from_scores(__doc__, argv, "plot_label_noise", NoiseFigureSettings, draw_label_noise)


if __name__ == "__main__":
    main()

"""Draw the rewards of preferred and dispreferred held-out answers of each run.

Inputs: score folders <run>/seed-<n>/ with the tasks of the suite `preference`. Outputs: the figure as PNG and PDF.
"""

import _repo  # noqa: F401

from collections.abc import Sequence

from preftune.figures.command import draw_from_scores
from preftune.figures.pairs import draw_reward_distributions
from preftune.figures.settings import PairFigureSettings


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, draw and write the figure."""
    draw_from_scores(
        __doc__, argv, "plot_reward_distributions", PairFigureSettings, draw_reward_distributions
    )


if __name__ == "__main__":
    main()

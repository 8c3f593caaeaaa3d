"""Draw test perplexity against trainable parameters of every captioning run, with the Pareto front.

Input: score folders <run>/seed-<n>/ with perplexity.json. Outputs: the figure as PNG and PDF.
"""

import _repo  # noqa: F401

from collections.abc import Sequence

from preftune.figures.command import draw_from_scores
from preftune.figures.pareto import draw_pareto
from preftune.figures.settings import ParetoFigureSettings


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, draw and write the figure."""
    draw_from_scores(__doc__, argv, "plot_pareto", ParetoFigureSettings, draw_pareto)


if __name__ == "__main__":
    main()

"""Draw what alignment costs the language model: divergence, perplexity, accuracy, length, repetition.

Inputs: score folders <run>/seed-<n>/ and drift folders <run>/seed-<n>/ with drift.json and drift.parquet. Outputs: the
figure as PNG and PDF.
"""

import _repo  # noqa: F401

from collections.abc import Sequence

from preftune.figures.command import draw_from_scores
from preftune.figures.costs import draw_alignment_cost
from preftune.figures.settings import CostFigureSettings


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, draw and write the figure."""
    draw_from_scores(
        __doc__, argv, "plot_alignment_cost", CostFigureSettings, draw_alignment_cost, drift=True
    )


if __name__ == "__main__":
    main()

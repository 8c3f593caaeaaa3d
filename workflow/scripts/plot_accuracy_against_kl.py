"""Draw accuracy on held-out pairs against the divergence of the language model from SFT.

Inputs: score folders <run>/seed-<n>/ and drift folders <run>/seed-<n>/ with drift.json and drift.parquet. Outputs: the
figure as PNG and PDF.
"""

import _repo  # noqa: F401

from collections.abc import Sequence

from preftune.figures.command import draw_from_scores
from preftune.figures.divergence import draw_accuracy_against_kl
from preftune.figures.settings import DriftFigureSettings


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, draw and write the figure."""
    draw_from_scores(
        __doc__, argv, "plot_accuracy_against_kl", DriftFigureSettings, draw_accuracy_against_kl, drift=True
    )


if __name__ == "__main__":
    main()

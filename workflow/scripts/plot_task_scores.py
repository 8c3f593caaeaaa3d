"""Draw the accuracy of every system on every task.

Inputs: score folders <run>/seed-<n>/ with <task>.json and .parquet. Outputs: the figure as PNG and PDF.
"""

import _repo  # noqa: F401

from collections.abc import Sequence

from preftune.figures.command import draw_from_scores
from preftune.figures.scores import draw_task_scores
from preftune.figures.settings import TaskScoreSettings


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, draw and write the figure."""
    draw_from_scores(__doc__, argv, "plot_task_scores", TaskScoreSettings, draw_task_scores)


if __name__ == "__main__":
    main()

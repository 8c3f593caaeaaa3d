"""Draw caption perplexity against LoRA rank beside the paper's printed points (Context-PEFT Figure 4).

Inputs: cell registry, score folders. Outputs: the figure as PNG and PDF.
"""

import _repo  # noqa: F401

from collections.abc import Sequence
from pathlib import Path

from preftune.figures.captioning import draw_rank_sweep
from preftune.figures.settings import AdapterFigureSettings
from preftune.figures.style import save_figure
from preftune.command_line import step_parser
from preftune.step import Step


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, draw and write the figure."""
    parser = step_parser(__doc__)
    parser.add_argument(
        "--cells", type=Path, required=True, help="registry of the published numbers, config/cells.tsv"
    )
    parser.add_argument(
        "--scores",
        type=Path,
        nargs="*",
        default=[],
        help="score folders <run>/seed-<n>/ with perplexity.json",
    )
    parser.add_argument("--output", type=Path, required=True, help="PNG of the figure")
    parser.add_argument("--pdf", type=Path, required=True, help="PDF of the figure")
    with Step.start(
        parser, argv, rule="plot_rank_sweep", inputs=("cells", "scores"), outputs=("output", "pdf")
    ) as step:
        settings = step.settings(AdapterFigureSettings)
        figure = draw_rank_sweep(step.arguments.cells, step.arguments.scores, settings)
        save_figure(figure, step.out("output"), step.out("pdf"), step.fingerprint)


if __name__ == "__main__":
    main()

"""The command line of the figures that are drawn from score folders."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from preftune.command_line import step_parser
from preftune.figures.style import save_figure
from preftune.settings.report import FigureSettings
from preftune.step import Step


def draw_from_scores(
    doc: str | None, argv: Sequence[str] | None, rule: str, schema: type[FigureSettings],
    draw: Callable[..., Figure], drift: bool = False,
) -> None:  # fmt: skip
    """Parse the command line of `rule`, draw, and write the figure as PNG and PDF.

    Args:
        doc: the script's docstring, its help.
        schema: what `--settings` holds.
        draw: makes the figure from the score folders, the drift folders (with `drift`), and the settings.
    """
    parser = step_parser(doc)
    options: dict[str, Any] = {"type": Path, "nargs": "+", "required": True}
    parser.add_argument(
        "--scores", help="score folders <run>/seed-<n>/ with <task>.json and <task>.parquet", **options
    )
    if drift:
        parser.add_argument(
            "--drift", help="drift folders <run>/seed-<n>/ with drift.json and drift.parquet", **options
        )
    parser.add_argument("--output", type=Path, required=True, help="PNG of the figure")
    parser.add_argument("--pdf", type=Path, required=True, help="PDF of the figure")
    inputs = ("scores", "drift") if drift else ("scores",)
    with Step.start(parser, argv, rule=rule, inputs=inputs, outputs=("output", "pdf")) as step:
        settings = step.settings(schema)
        figure = draw(*(getattr(step.arguments, name) for name in inputs), settings)
        save_figure(figure, step.out("output"), step.out("pdf"), step.fingerprint)

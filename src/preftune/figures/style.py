"""One look for every figure: readable in colour, by the colour-blind, and printed in black and white.

Series differ by colour, line style and marker at once. Files carry no time stamp, so that the same numbers
give the same bytes.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

matplotlib.rcParams.update(
    {
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "axes.titlesize": 9.5,
        "axes.labelsize": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#dddddd",
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "legend.fontsize": 8.5,
        "xtick.labelsize": 8.5,
        "ytick.labelsize": 8.5,
        "pdf.fonttype": 42,
        "image.cmap": "cividis",
    }
)

DOTS_PER_INCH = 150
STAMP = "stamp"
NOT_RUN = "not run at this scale"
# Okabe and Ito's palette without yellow, ordered so that neighbours differ in lightness too.
COLOURS = ("#0072B2", "#E69F00", "#000000", "#009E73", "#D55E00", "#56B4E9", "#CC79A7")
LINES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (7, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


@dataclass(frozen=True)
class Mark:
    """How one series is drawn."""

    colour: str
    line: Any
    marker: str


@dataclass(frozen=True)
class Stamp:
    """What the footer of a figure says of the numbers above it."""

    data: str
    scale: str

    def __str__(self) -> str:
        return f"data: {self.data} · scale: {self.scale}"


def mark(index: int) -> Mark:
    """The look of series number `index`; after seven series the looks are combined anew."""
    shift = index // len(COLOURS)
    return Mark(
        COLOURS[index % len(COLOURS)],
        LINES[(index + shift) % len(LINES)],
        MARKERS[(index + 2 * shift) % len(MARKERS)],
    )


def new_figure(
    title: str,
    stamp: Stamp,
    size: tuple[float, float],
    rows: int = 1,
    columns: int = 1,
    aid: Sequence[str] = (),
    legend_rows: int = 0,
    gap: float = 0.04,
    **grid: Any,
) -> tuple[Figure, np.ndarray]:
    """A figure whose panels fill `size` (width, height in inches) between a title and a footer.

    Args:
        title: printed at the top left, wrapped to the width.
        stamp: data and scale, printed at the bottom left.
        size: width of the figure and height of its panels, in inches; title and footer add to the height.
        aid: sentences printed under the panels that say how to read them.
        legend_rows: lines kept free under the title for `add_legend`.
        gap: padding around a panel, in inches.
        grid: passed on to `Figure.subplots`.

    Returns:
        The figure and its axes, an array `[rows, columns]`.
    """
    width, height = size
    title_lines = textwrap.wrap(title, int(width * 11.5))
    aid_lines = [line for sentence in aid for line in textwrap.wrap(sentence, int(width * 14.5))]
    top = 0.16 + 0.24 * len(title_lines) + 0.21 * legend_rows
    bottom = 0.26 + 0.18 * len(aid_lines)
    total = height + top + bottom
    layout = ConstrainedLayoutEngine(rect=(0.005, bottom / total, 0.99, height / total), h_pad=gap, w_pad=gap)
    figure = Figure(figsize=(width, total), dpi=DOTS_PER_INCH, layout=layout)
    left = 0.12 / width
    figure.text(left, 1 - 0.1 / total, "\n".join(title_lines), va="top", size=11.5, weight="bold")
    figure.text(
        left,
        (bottom - 0.04) / total,
        "\n".join(aid_lines),
        va="top",
        size=8.5,
        color="#222222",
        linespacing=1.3,
    )
    figure.text(left, 0.07 / total, str(stamp), va="bottom", size=7.5, color="#555555", gid=STAMP)
    return figure, figure.subplots(rows, columns, squeeze=False, **grid)


def add_legend(figure: Figure, handles: Sequence[Any], columns: int) -> None:
    """Put one legend under the title of a figure made with `legend_rows`."""
    width, height = figure.get_size_inches()
    title_lines = figure.texts[0].get_text().count("\n") + 1
    top = 1 - (0.1 + 0.24 * title_lines) / height
    figure.legend(
        handles=list(handles), loc="upper left", bbox_to_anchor=(0.05 / width, top), ncols=columns,
        borderaxespad=0, labelspacing=0.25, handlelength=3.2, columnspacing=1.6,
    )  # fmt: skip


def say_not_run(axes: Axes, message: str = NOT_RUN) -> None:
    """Print `message` in the middle of a panel that has nothing to show."""
    axes.text(
        0.5, 0.5, message, transform=axes.transAxes, ha="center", va="center", style="italic", color="#444444"
    )
    axes.set(xticks=[], yticks=[])
    axes.grid(False)


def save_figure(figure: Figure, png: Path, pdf: Path, fingerprint: str) -> None:
    """Write a figure as PNG (150 dots per inch) and PDF, byte for byte the same for the same figure.

    The fingerprint of what it was made from stands in its footer, in the PNG's text `Fingerprint` and the PDF's keywords.
    """
    for text in figure.texts:
        if text.get_gid() == STAMP:
            text.set_text(f"{text.get_text()} · fingerprint: {fingerprint}")
    figure.savefig(
        png, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None, "Fingerprint": fingerprint}
    )
    nothing = dict.fromkeys(("CreationDate", "ModDate", "Producer", "Creator"))
    figure.savefig(pdf, format="pdf", metadata={**nothing, "Keywords": f"fingerprint {fingerprint}"})

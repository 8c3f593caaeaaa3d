"""A gallery of test images with the captions that runs generated and one reference each."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from preftune.errors import PreftuneError
from preftune.figures.images import read_image
from preftune.figures.runs import group_by_run
from preftune.figures.settings import GallerySettings
from preftune.figures.style import Stamp, new_figure
from preftune.files import read_jsonl


@dataclass(frozen=True)
class Picture:
    """One image of the gallery: its file, one reference, and the caption of every run."""

    image_id: int
    file: str
    reference: str
    captions: dict[str, str]


def read_pictures(files: Sequence[Path], count: int, order: Sequence[str] = ()) -> list[Picture]:
    """The first `count` images of the first captions file, with every run's caption (of its first seed)."""
    if not files:
        raise PreftuneError("No captions file was given: name at least one with --captions.")
    runs = {run: read_jsonl(paths[0]) for run, paths in group_by_run(files, order).items()}
    for run, rows in runs.items():
        for number, row in enumerate(rows, start=1):
            if not {"image_id", "file", "caption", "references"} <= row.keys() or not row["references"]:
                raise PreftuneError(
                    f"Captions of {run}, row {number} lack a field or a reference: generate them again."
                )
    captions = {run: {row["image_id"]: row["caption"] for row in rows} for run, rows in runs.items()}
    return [
        Picture(row["image_id"], row["file"], row["references"][0],
                {run: found[row["image_id"]] for run, found in captions.items() if row["image_id"] in found})
        for row in next(iter(runs.values()))[:count]
    ]  # fmt: skip


def caption_lines(picture: Picture, settings: GallerySettings, width: int) -> list[str]:
    """Text under one image: each run's caption, then the reference, wrapped to `width` characters."""
    entries = [(settings.label(run), caption or "(empty)") for run, caption in picture.captions.items()]
    lines = []
    for name, text in [*entries, ("reference", picture.reference)]:
        lines += textwrap.wrap(
            f"{name}: {text}", width, subsequent_indent="   ", max_lines=2, placeholder=" …"
        )
    return lines


def draw_picture(axes: Axes, picture: Picture, root: Path, lines: list[str]) -> None:
    """Draw one image above its caption lines."""
    axes.imshow(read_image(root, picture.file), interpolation="nearest")
    axes.set_title(f"image {picture.image_id}", size=8, loc="left")
    axes.text(
        0,
        -0.03,
        "\n".join(lines).replace("$", r"\$"),
        transform=axes.transAxes,
        va="top",
        size=7.5,
        linespacing=1.25,
    )
    axes.set(xticks=[], yticks=[], anchor="N")
    axes.grid(False)
    axes.spines[:].set(visible=True, color="#aaaaaa")


def draw_gallery(files: Sequence[Path], root: Path, settings: GallerySettings) -> Figure:
    """Grid of the first test images with each run's caption and one reference.

    Args:
        files: captions files `.../<run>/seed-<n>.jsonl`.
        root: folder below which the images lie.
    """
    pictures = read_pictures(files, settings.images, settings.runs)
    columns = min(settings.columns, len(pictures))
    rows = -(-len(pictures) // columns)
    width = 2.9
    texts = [caption_lines(picture, settings, width=int(width * 14)) for picture in pictures]
    text_height = 0.155 * max(len(lines) for lines in texts) + 0.35
    aid = ["The first images of the test split, in file order: none was chosen by hand."]
    size = (max(6.5, width * columns), rows * (2.75 + text_height))
    stamp = Stamp(settings.data, settings.scale)
    figure, grid = new_figure(
        "Captions generated for test images", stamp, size, rows=rows, columns=columns, aid=aid, gap=0.07
    )
    for axes, picture, lines in zip(grid.flat, pictures, texts, strict=False):
        draw_picture(axes, picture, root, lines)
    for axes in list(grid.flat)[len(pictures) :]:
        axes.set_axis_off()
    return figure

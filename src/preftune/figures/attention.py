"""Attention of caption words over the image, drawn on the image itself (Context-PEFT paper, Figure 6)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from preftune.errors import PreftuneError
from preftune.figures.images import read_image
from preftune.figures.settings import AttentionFigureSettings
from preftune.figures.style import Stamp, new_figure

REMEDY = "compute the attention again"
# Words that name nothing in an image: their maps would fill the figure and show little.
FUNCTION_WORDS = frozenset(
    [
        "a",
        "an",
        "the",
        "of",
        "is",
        "are",
        "and",
        "or",
        "in",
        "on",
        "at",
        "to",
        "with",
        "there",
        "this",
        "that",
        "it",
        "its",
    ]
)


@dataclass(frozen=True)
class WordMap:
    """One word of a caption and its attention over the image grid `[rows, cols]`, which sums to 1."""

    word: str
    attention: np.ndarray


@dataclass(frozen=True)
class AttentionMaps:
    """What `compute_attention` stores: maps of every caption token over the image grid.

    maps `[images, tokens, rows, cols]` (zero after a caption's end), lengths and image_ids `[images]`,
    tokens `[images, tokens]` (text, with its leading space), and the layer they were taken from.
    """

    maps: np.ndarray
    lengths: np.ndarray
    image_ids: np.ndarray
    tokens: np.ndarray
    layer: int


def read_maps(path: Path) -> AttentionMaps:
    """Read an archive of attention maps; another shape, or values that are no attention, is an error."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = ("maps", "lengths", "image_ids", "tokens")
            maps, lengths, image_ids, tokens = (archive[name] for name in names)
            layer = int(archive["layer"])
    except (OSError, KeyError, ValueError, EOFError) as error:
        raise PreftuneError(f"{path} is missing or no archive of attention maps: {REMEDY}.") from error
    if maps.ndim != 4 or not len(maps) or tokens.shape != maps.shape[:2] or len(lengths) != len(maps):
        raise PreftuneError(f"{path} holds maps {maps.shape} and tokens {tokens.shape}: {REMEDY}.")
    if len(image_ids) != len(maps) or not np.isfinite(maps).all() or (maps < 0).any():
        raise PreftuneError(
            f"{path} holds attention that is negative, infinite or without an image: {REMEDY}."
        )
    return AttentionMaps(maps.astype(np.float64), lengths, image_ids, tokens, layer)


def word_maps(found: AttentionMaps, image: int, count: int) -> list[WordMap]:
    """The first `count` content words of one caption; the pieces of a word are summed, then normalised."""
    words: list[tuple[str, np.ndarray]] = []
    for token, attention in zip(found.tokens[image], found.maps[image], strict=True):
        text = str(token)
        if not text.strip() or text.startswith("<|"):
            continue
        if words and not text.startswith(" ") and text[0].isalnum():
            words[-1] = (words[-1][0] + text, words[-1][1] + attention)
        else:
            words.append((text.strip(), attention))
    content = [
        (text, total) for text, total in words if text.lower() not in FUNCTION_WORDS and text[0].isalnum()
    ]
    return [WordMap(text, total / max(float(total.sum()), 1e-12)) for text, total in content[:count]]


def read_image_files(index: Path) -> dict[int, str]:
    """File of every image id, from `images.parquet` in the folder of prepared captions."""
    import pyarrow
    import pyarrow.parquet

    path = Path(index) / "images.parquet"
    try:
        table = pyarrow.parquet.read_table(path, columns=["image_id", "file"])
    except (OSError, pyarrow.ArrowException) as error:
        raise PreftuneError(
            f"{path} is missing or has no image_id and file: prepare the captions again."
        ) from error
    return dict(zip(table["image_id"].to_pylist(), table["file"].to_pylist(), strict=True))


def draw_overlay(axes: Axes, image: np.ndarray, attention: np.ndarray, ceiling: float) -> AxesImage:
    """Draw a map `[rows, cols]` over the greyed image `[height, width, 3]`, scaled up smoothly.

    The map covers the central square, which is what the encoder sees.
    """
    height, width = image.shape[:2]
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    axes.imshow(0.45 * image.mean(axis=2) + 140, cmap="gray", vmin=0, vmax=255)
    layer = axes.imshow(
        attention, cmap="inferno", vmin=0, vmax=ceiling, alpha=0.62, interpolation="bilinear",
        extent=(left, left + side, top + side, top),
    )  # fmt: skip
    axes.set(xlim=(0, width), ylim=(height, 0))
    return layer


def draw_row(
    line: np.ndarray, image_id: int, image: np.ndarray, words: list[WordMap], ceiling: float
) -> AxesImage:
    """Draw one image and the maps of its words; returns the last layer, for the colour bar."""
    for axes in line:
        axes.set_axis_off()
    layer: AxesImage = line[0].imshow(image)
    line[0].set_title(f"image {image_id}", size=8.5)
    for axes, word in zip(line[1:], words, strict=False):
        layer = draw_overlay(axes, image, word.attention, ceiling)
        axes.set_title(f"“{word.word}”".replace("$", r"\$"), size=8.5)
    return layer


def draw_attention(archive: Path, root: Path, index: Path, settings: AttentionFigureSettings) -> Figure:
    """One row per image: the image, then the attention of each content word of its caption over it.

    Args:
        archive: .npz of `read_maps`.
        root: folder below which the images lie.
        index: prepared captions, whose `images.parquet` gives the file of each image.
    """
    found = read_maps(archive)
    files = read_image_files(index)
    ids = [int(value) for value in found.image_ids[: settings.images]]
    unknown = [value for value in ids if value not in files]
    if unknown:
        raise PreftuneError(f"{archive} holds image {unknown[0]}, which {index} does not list: {REMEDY}.")
    words = [word_maps(found, row, settings.words) for row in range(len(ids))]
    if not any(words):
        raise PreftuneError(f"{archive} holds no caption with a content word: {REMEDY}.")
    columns = 1 + max(map(len, words))
    rows, cols = found.maps.shape[2:]
    aid = [
        f"Share of each word's attention over the {rows * cols} image tokens ({rows} × {cols}) in layer "
        f"{found.layer}, summed over heads, reading the first reference caption; a uniform map holds "
        f"{1 / (rows * cols):.3f} everywhere. Weight on the first or last image token can be a sink."
    ]
    size = (max(7.0, 1.75 * columns + 0.9), 1.95 * len(ids))
    stamp = Stamp(settings.data, settings.scale)
    figure, grid = new_figure("Where caption words look", stamp, size, len(ids), columns, aid)
    ceiling = float(np.quantile([word.attention.max() for line in words for word in line], 0.9))
    layers = [
        draw_row(line, image_id, read_image(root, files[image_id]), found_words, ceiling)
        for line, image_id, found_words in zip(grid, ids, words, strict=True)
    ]
    shown = next(layer for layer, found_words in zip(layers, words, strict=True) if found_words)
    bar = figure.colorbar(
        shown, ax=list(grid.flat), shrink=min(1.0, 0.5 + 0.5 / len(ids)), pad=0.01, extend="max"
    )
    bar.set_label("share of attention")
    return figure

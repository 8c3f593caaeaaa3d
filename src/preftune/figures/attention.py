"""Attention of caption tokens over the image, drawn on the image itself (Context-PEFT paper, Figure 6)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from preftune.errors import PreftuneError
from preftune.figures.images import read_image
from preftune.figures.settings import AttentionFigureSettings
from preftune.figures.style import Stamp, new_figure


@dataclass(frozen=True)
class AttentionMaps:
    """Attention over the image grid: `maps` [n, rows, cols], the image and the caption token of each map."""

    maps: np.ndarray
    image_ids: np.ndarray
    tokens: list[str]

    def of(self, image_id: int) -> list[tuple[str, np.ndarray]]:
        """Tokens and maps of one image, each map normalised to sum to 1."""
        found = [i for i, owner in enumerate(self.image_ids) if owner == image_id]
        return [(self.tokens[i], self.maps[i] / max(float(self.maps[i].sum()), 1e-12)) for i in found]


def read_maps(path: Path) -> AttentionMaps:
    """Read an archive with arrays `maps` [n, rows, cols], `image_ids` [n] and `tokens` [n]."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            maps, image_ids, tokens = archive["maps"], archive["image_ids"], archive["tokens"]
    except (FileNotFoundError, KeyError, ValueError, OSError, EOFError) as error:
        raise PreftuneError(
            f"{path} is not an archive of maps, image_ids and tokens: compute the attention again."
        ) from error
    if maps.ndim != 3 or len(maps) == 0 or not len(maps) == len(image_ids) == len(tokens):
        raise PreftuneError(
            f"{path} holds maps of shape {maps.shape}, not [n, rows, cols] with n ids and tokens: compute it again."
        )
    if not np.isfinite(maps).all() or (maps < 0).any():
        raise PreftuneError(
            f"{path} holds attention that is negative or not finite: compute the attention again."
        )
    return AttentionMaps(maps.astype(np.float64), image_ids, [str(token) for token in tokens])


def read_image_files(index: Path) -> dict[int, str]:
    """File of every image id, from `images.parquet` in the folder of prepared captions."""
    import pyarrow
    import pyarrow.parquet

    path = Path(index) / "images.parquet" if Path(index).is_dir() else Path(index)
    try:
        table = pyarrow.parquet.read_table(path, columns=["image_id", "file"])
    except (FileNotFoundError, pyarrow.ArrowException) as error:
        raise PreftuneError(
            f"{path} is missing or has no columns image_id and file: prepare the captions again."
        ) from error
    return dict(zip(table["image_id"].to_pylist(), table["file"].to_pylist(), strict=True))


def draw_overlay(axes: Axes, image: np.ndarray, attention: np.ndarray, ceiling: float) -> object:
    """Draw a map `[rows, cols]` over the greyed image, scaled up smoothly; returns the layer."""
    height, width = image.shape[:2]
    grey = image.mean(axis=2)
    axes.imshow(0.45 * grey + 140, cmap="gray", vmin=0, vmax=255)
    layer = axes.imshow(
        attention,
        cmap="inferno",
        vmin=0,
        vmax=ceiling,
        alpha=0.62,
        interpolation="bilinear",
        extent=(0, width, height, 0),
    )
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    return layer


def draw_attention(archive: Path, root: Path, index: Path, settings: AttentionFigureSettings) -> Figure:
    """One row per image: the image, then the attention of each caption span over the image tokens.

    Args:
        archive: .npz of `read_maps`.
        root: folder below which the images lie.
        index: prepared captions, whose `images.parquet` gives the file of each image.
    """
    found = read_maps(archive)
    files = read_image_files(index)
    ids = list(dict.fromkeys(int(value) for value in found.image_ids))[: settings.images]
    unknown = [value for value in ids if value not in files]
    if unknown:
        raise PreftuneError(
            f"{archive} holds image {unknown[0]}, which {index} does not list: compute the attention again."
        )
    maps = {value: found.of(value) for value in ids}
    columns = 1 + max(len(spans) for spans in maps.values())
    rows, cols = found.maps.shape[1:]
    aid = [
        f"Share of each caption word's attention over the {rows * cols} image tokens ({rows} × {cols}), summed over "
        f"heads; a uniform map would hold {1 / (rows * cols):.3f} everywhere. Weight on the first or last image token "
        "can be an attention sink."
    ]
    size = (max(6.5, 1.75 * columns + 0.9), 1.95 * len(ids))
    stamp = Stamp(settings.data, settings.scale)
    figure, grid = new_figure(
        "Where caption words look", stamp, size, rows=len(ids), columns=columns, aid=aid
    )
    ceiling = max(float(np.quantile([m.max() for spans in maps.values() for _, m in spans], 0.9)), 1e-6)
    layer: object = None
    for line, image_id in zip(grid, ids, strict=True):
        image = read_image(root, files[image_id])
        for axes in line:
            axes.set_axis_off()
        line[0].imshow(image)
        line[0].set_title(f"image {image_id}", size=8.5)
        for axes, (token, attention) in zip(line[1:], maps[image_id], strict=False):
            layer = draw_overlay(axes, image, attention, ceiling)
            axes.set_title(f"“{token.strip()}”".replace("$", r"\$"), size=8.5)
    bar = figure.colorbar(
        layer, ax=list(grid.flat), shrink=min(1.0, 0.5 + 0.5 / len(ids)), pad=0.01, extend="max"
    )  # type: ignore[arg-type]
    bar.set_label("share of attention")
    return figure

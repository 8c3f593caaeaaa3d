"""Perplexities behind the adapter charts: this project's from score files, the paper's from the registry."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from preftune.errors import PreftuneError
from preftune.stats.bootstrap import bootstrap_perplexities
from preftune.stats.intervals import cell_interval
from preftune.tables.cells import read_cells
from preftune.tables.measures import IMAGES
from preftune.tables.scores import REMEDY, ScoreStore, stack

CONTEXTS = ("agnostic", "specific")
_METRIC = "perplexity"
# The score file of each split.
_FILES = {"test": "perplexity", "validation": "validation"}
_LORA_RUN = re.compile(r"lora-(\d+)-af-(agnostic|specific)(?:-(alpha16|rslora))?")
_LORA_ROW = re.compile(r"LoRA-(\d+)")


@dataclass(frozen=True)
class Perplexity:
    """Caption perplexity of one run: mean over seeds, 95 % interval over images (or three seeds)."""

    value: float
    low: float
    high: float
    images: int
    split: str


@dataclass(frozen=True)
class ChartCell:
    """One perplexity cell of the paper; `group` is the placement (A, F, AF) or the encoder."""

    row: str
    group: str
    context: str
    published: float | None
    run: str


def read_perplexities(
    folders: Sequence[Path], runs: Sequence[str] = (), split: Literal["test", "validation"] = "test"
) -> dict[str, Perplexity]:
    """Perplexity on a split of every run below the score folders, or of `runs` alone; intervals as in the tables."""
    store, name = ScoreStore(folders, runs or None), _FILES[split]
    found = [run for run in sorted(store.runs()) if store.seeds(run, name)]
    if folders and not found:
        raise PreftuneError(
            f"{folders[0]} holds no {name}.json of one of the runs: evaluate a run, then plot again."
        )
    return {run: _read_run(store, run, name) for run in found}


def _read_run(store: ScoreStore, run: str, name: str) -> Perplexity:
    seeds = store.seeds(run, name)
    records = [store.read(run, seed, name) for seed in seeds]
    values = [float(value) for record in records if isinstance(value := record.get(_METRIC), int | float)]
    if len(values) < len(records):
        raise PreftuneError(f"{store.path(run, seeds[0], name)} holds no number `perplexity`: {REMEDY}.")
    mean = sum(values) / len(values)
    losses = [found for seed in seeds if (found := store.losses(run, seed, name)) is not None]
    sums = ([found.nll for found in losses], [found.tokens for found in losses])
    replicates = (
        bootstrap_perplexities(stack(sums[0]), stack(sums[1]), IMAGES) if len(losses) == len(seeds) else None
    )
    interval, _ = cell_interval(values, replicates)
    low, high = interval or (mean, mean)
    return Perplexity(
        mean, low, high, int(records[0].get("n_images", 0)), str(records[0].get("split", "test"))
    )


def read_chart_cells(path: Path, table: str) -> list[ChartCell]:
    """The perplexity cells of one table of the registry; a column is `<group> <context>`: `AF specific`."""
    cells = [cell for cell in read_cells(Path(path)) if cell.table == table and cell.metric == _METRIC]
    parted = [(cell, *cell.column.rpartition(" ")[::2]) for cell in cells]
    wrong = [cell.column for cell, _, context in parted if context not in CONTEXTS]
    if wrong or not cells:
        what = (
            f"column `{wrong[0]}` must end in agnostic or specific"
            if wrong
            else "no perplexity cell is listed"
        )
        raise PreftuneError(f"{path}, table {table}: {what}: correct the registry.")
    return [
        ChartCell(cell.row, group, context, cell.published_value, cell.run) for cell, group, context in parted
    ]


def sweep_points(
    measured: dict[str, Perplexity], context: str, scaling: str | None = None
) -> dict[int, Perplexity]:
    """Perplexity by LoRA rank of the AF runs of one context and scaling (None: by 1), in the order of the ranks."""
    matches = {run: _LORA_RUN.fullmatch(run) for run in measured}
    found = {
        int(m.group(1)): measured[run]
        for run, m in matches.items()
        if m and m.groups()[1:] == (context, scaling)
    }
    return dict(sorted(found.items()))


def published_sweep(cells: Sequence[ChartCell], group: str, context: str) -> dict[int, float]:
    """Published perplexity by LoRA rank in one column of Table 2, the only printed points of Figure 4."""
    found: dict[int, float] = {}
    for cell in cells:
        match = _LORA_ROW.fullmatch(cell.row)
        if match and cell.group == group and cell.context == context and cell.published is not None:
            found[int(match.group(1))] = cell.published
    return dict(sorted(found.items()))

"""The published copy of the results: tables, charts, scores of single items, records and small models."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from preftune.errors import PreftuneError
from preftune.files import read_json
from preftune.provenance.privacy import find_private
from preftune.provenance.records import PAPERS

# The README shows the charts; an audit computes every table again from the scores of single items. Large weights, rows and
# images stay away: their records say what they were.
PATTERNS = (
    "{paper}/tables/*",
    "{paper}/figures/*.png",
    "{paper}/*.json",
    "{paper}/*.parquet",
    *(
        f"{{paper}}/{part}/**/*.{kind}"
        for part in ("scores", "drift", "best_of", "multitask", "second_opinion")
        for kind in ("json", "parquet")
    ),
    "{paper}/models/**/metrics.jsonl",
    "{paper}/**/run.json",
    "{paper}/**/*.run.json",
)
LARGEST = 2_000_000
SMALL_MODEL = 4_000_000
"""Bytes up to which a model folder is published whole: LoRA adapters, small heads, captioners whose adapter is one of vectors."""
TEXTS = (".json", ".jsonl", ".csv", ".md", ".tex", ".txt")


def select_files(results: Path) -> list[Path]:
    """Files to publish, relative to the results folder, each once; at least one table must be there."""
    paths = {
        path.relative_to(results)
        for paper in PAPERS
        for pattern in PATTERNS
        for path in results.glob(pattern.format(paper=paper))
        if path.is_file()
    }
    paths |= {path.relative_to(results) for path in select_models(results)}
    # Steps in progress write below hidden names.
    found = [path for path in paths if not any(part.startswith(".") for part in path.parts)]
    if not any(path.parent.name == "tables" for path in found):
        raise PreftuneError(f"{results} holds no tables: run `make results` first.")
    return sorted(found)


def select_models(results: Path) -> Iterator[Path]:
    """Every file of small trained models: of the first seed of each run, and of the SFT models, on which all others rest."""
    for run in sorted(path for paper in PAPERS for path in results.glob(f"{paper}/models/*")):
        seeds = sorted(run.glob("seed-*"), key=lambda path: int(path.name.partition("-")[2]))
        made = [folder for folder in seeds if (folder / "run.json").is_file()]
        for place, folder in enumerate(made):
            wanted = place == 0 or read_json(folder / "run.json")["rule"] == "train_sft"
            files = [path for path in folder.rglob("*") if path.is_file()]
            if wanted and sum(path.stat().st_size for path in files) <= SMALL_MODEL:
                yield from files


def copy_files(results: Path, files: list[Path], destination: Path) -> None:
    """Copy the files; one that is too large for a git history, or that tells who made it, is an error."""
    for file in files:
        if file.suffix in TEXTS and (what := find_private((results / file).read_text(errors="replace"))):
            raise PreftuneError(
                f"{results / file} holds {what}: run its step again without it, then publish."
            )
        size = (results / file).stat().st_size
        if size > (SMALL_MODEL if file.suffix == ".safetensors" else LARGEST):
            raise PreftuneError(
                f"{results / file} has {size} bytes, more than {LARGEST}: lower a figure's resolution, or the limit of the evaluation."
            )
        (destination / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(results / file, destination / file)

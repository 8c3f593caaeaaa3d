"""The published copy of the results: tables, charts, records (small files only), and the tables of the page that shows them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from preftune.errors import PreftuneError
from preftune.provenance.privacy import find_private
from preftune.provenance.records import PAPERS
from preftune.provenance.why import explain_cell

# The README shows the charts; an audit computes every table again from the scores of single items. Weights, rows and
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
    "{paper}/**/run.json",
    "{paper}/**/*.run.json",
)
LARGEST = 2_000_000
WHY = ("race", "Ours (SFT)", "middle")
"""Table, row and column of the cell whose chain the README shows."""
TEXTS = (".json", ".csv", ".md", ".tex")
_OPEN = re.compile(r"^<!-- generated:(?P<name>\S+) -->\s*$")
_CLOSE = re.compile(r"^<!-- /generated -->\s*$")


def select_files(results: Path) -> list[Path]:
    """Files to publish, relative to the results folder, each once; at least one table must be there."""
    paths = {
        path.relative_to(results)
        for paper in PAPERS
        for pattern in PATTERNS
        for path in results.glob(pattern.format(paper=paper))
        if path.is_file()
    }
    # Steps in progress write below hidden names.
    found = [path for path in paths if not any(part.startswith(".") for part in path.parts)]
    if not any(path.parent.name == "tables" for path in found):
        raise PreftuneError(f"{results} holds no tables: run `make results` first.")
    return sorted(found)


def copy_files(results: Path, files: list[Path], destination: Path) -> None:
    """Copy the files; one that is too large for a git history, or that tells who made it, is an error."""
    for file in files:
        if file.suffix in TEXTS and (what := find_private((results / file).read_text(errors="replace"))):
            raise PreftuneError(
                f"{results / file} holds {what}: run its step again without it, then publish."
            )
        size = (results / file).stat().st_size
        if size > LARGEST:
            raise PreftuneError(
                f"{results / file} has {size} bytes, more than {LARGEST}: lower a figure's resolution, or the limit of the evaluation."
            )
        (destination / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(results / file, destination / file)


def fill_markers(text: str, blocks: dict[str, str], where: str) -> str:
    """The text with what stands between `<!-- generated:NAME -->` and `<!-- /generated -->` renewed."""
    lines: list[str] = []
    name = ""
    for number, line in enumerate(text.splitlines(), start=1):
        opened, closed = _OPEN.match(line), _CLOSE.match(line)
        if bool(opened) == bool(name) and (opened or closed):
            raise PreftuneError(
                f"{where}, line {number}: markers must come in pairs: write one opening, one closing line."
            )
        if opened:
            name = opened["name"]
            if name not in blocks:
                raise PreftuneError(
                    f"{where}, line {number}: no table {name}: give one of {', '.join(sorted(blocks))}."
                )
            lines += [line, "", blocks[name].strip(), ""]
        elif closed:
            name = ""
        if not name and not opened:
            lines.append(line)
    if name:
        raise PreftuneError(f"{where}: the block generated:{name} is not closed: add `<!-- /generated -->`.")
    return "\n".join(lines) + "\n"


def read_blocks(results: Path) -> dict[str, str]:
    """Markdown tables by `<paper>/<table>`, as the page's markers name them."""
    paths = sorted(path for paper in PAPERS for path in results.glob(f"{paper}/tables/*.md"))
    return {f"{path.parent.parent.name}/{path.stem}": path.read_text(encoding="utf-8") for path in paths}


def show_chain(results: Path) -> str:
    """What `make why` prints of one cell: its record, the first two steps, and how many follow."""
    parts = explain_cell(results.resolve(), *WHY).split("\n\n")
    told = "\n\n".join([*parts[:4], f"... {len(parts) - 4} more steps, down to the fetched model and rows"])
    table, row, column = WHY
    return f"```\n$ make why TABLE={table} ROW='{row}' COLUMN={column}\n{told}\n```"

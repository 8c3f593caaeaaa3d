"""Pages that show published numbers: whole tables between markers, and single numbers inside sentences.

`<!-- generated:dph/race -->` ... `<!-- /generated -->` holds a table; `<!-- number:demo/dph/race/Ours (SFT)/middle -->` ...
`<!-- /number -->` holds one cell as it is printed (scale, paper, table, row, column), and
`<!-- number:small-cpu/dph/claims/dph-above-log -->` the effect, interval and verdict of one claim.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from preftune.errors import PreftuneError
from preftune.files import atomic_write_text, read_json
from preftune.provenance.digest import ROOT
from preftune.provenance.records import PAPERS, PUBLISHED
from preftune.provenance.why import explain_cell
from preftune.report.cells import read_audit
from preftune.tables.cells import CellRecord
from preftune.tables.claims import ClaimRecord
from preftune.tables.claims_render import format_effect
from preftune.tables.render import format_value

PAGES = {"demo": "README.md", "small-cpu": "docs/results.md"}
"""Which page shows the tables of a scale; single numbers stand in any of them."""
WHY = ("race", "Ours (SFT)", "middle")
"""Table, row and column of the cell whose chain the README shows."""
_OPEN = re.compile(r"^<!-- generated:(?P<name>\S+) -->\s*$")
_CLOSE = re.compile(r"^<!-- /generated -->\s*$")
NUMBER = re.compile(r"(?P<open><!-- number:(?P<name>.+?) -->)(?P<text>.*?)(?P<close><!-- /number -->)")


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
    blocks = {f"{path.parent.parent.name}/{path.stem}": path.read_text(encoding="utf-8") for path in paths}
    opinions = sorted(results.glob("dph/second_opinion/*/seed-*[0-9].json"))
    return blocks | ({"dph/second_opinion": show_opinions(opinions)} if opinions else {})


def show_opinions(files: Sequence[Path]) -> str:
    """A row a task that lm-eval scored too: what both found, and how far apart they are."""
    heads = ["run", "task", "prompts", "questions", "accuracy, ours (%)", "accuracy, lm-eval's hf (%)"]
    heads += ["equal predictions", "largest difference (nats)", "near ties decided otherwise"]
    lines = [f"| {' | '.join(heads)} |", f"| --- | --- | --- |{' ---: |' * (len(heads) - 3)}"]
    for path in files:
        for one in read_json(path)["comparisons"]:
            ours, theirs = (f"{100 * one['accuracy'][side]:.1f}" for side in ("preftune", "lm_eval"))
            cells = [path.parent.name, one["task"], one["templates"], str(one["n"]), ours, theirs]
            cells += [
                f"{one['agreement']:.1%}",
                f"{one['max_difference']:.1e}",
                ", ".join(one["close"]) or "none",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def show_chain(results: Path) -> str:
    """What `make why` prints of one cell: its record, the first two steps, and how many follow."""
    parts = explain_cell(results.resolve(), *WHY).split("\n\n")
    told = "\n\n".join([*parts[:4], f"... {len(parts) - 4} more steps, down to the fetched model and rows"])
    table, row, column = WHY
    return f"```\n$ make why TABLE={table} ROW='{row}' COLUMN={column}\n{told}\n```"


def fill_numbers(text: str, published: Path, where: str) -> str:
    """The text with every number between `<!-- number:NAME -->` and `<!-- /number -->` as the published records print it."""
    if text.count("<!-- number:") != len(NUMBER.findall(text)):
        raise PreftuneError(f"{where}: a number is not closed on its line: add `<!-- /number -->`.")
    return NUMBER.sub(
        lambda found: f"{found['open']}{print_number(published, found['name'], where)}{found['close']}", text
    )


def print_number(published: Path, name: str, where: str) -> str:
    """A cell as its table prints it, or a claim's effect, interval and verdict; of one that was not tested the reason alone.

    Raises:
        PreftuneError: there is no such cell or claim, or the cell has no number.
    """
    if name.count("/") < 3:
        raise PreftuneError(
            f"{where}: number {name}: give scale/paper/table/row/column, or scale/paper/claims/id."
        )
    scale, paper, table, place = name.split("/", 3)
    path = published / scale / paper / "tables" / f"{table}.audit.json"
    if not path.is_file():
        raise PreftuneError(
            f"{where}: number {name}: {path} does not exist: publish the scale, or correct it."
        )
    claims = table == "claims"
    found = {one.id if claims else f"{one.row}/{one.column}": one for one in _read(path, claims)}
    if place not in found:
        raise PreftuneError(f"{where}: number {name}: {path} has no such {'claim' if claims else 'cell'}.")
    record = found[place]
    if claims:
        return record.verdict if record.effect is None else f"{format_effect(record)}, {record.verdict}"
    if record.value is None:
        raise PreftuneError(f"{where}: number {name}: nothing was computed for it ({record.verdict}).")
    return format_value(record)


@cache
def _read(path: Path, claims: bool) -> list[Any]:
    return read_audit(path, ClaimRecord if claims else CellRecord)


def renew_numbers(published: Path = PUBLISHED) -> None:
    """Write the numbers of every page anew."""
    _read.cache_clear()
    for name in PAGES.values():
        page = ROOT / name
        atomic_write_text(page, fill_numbers(page.read_text(encoding="utf-8"), published, name))

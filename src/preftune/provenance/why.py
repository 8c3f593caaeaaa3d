"""The whole chain behind one number, as the terminal shows it (`preftune why`)."""

import textwrap
from pathlib import Path
from typing import Any

from preftune.errors import PreftuneError
from preftune.provenance.chain import Link, chain_of, find_cell
from preftune.provenance.digest import WAIVERS, code_digest, present_digest
from preftune.provenance.store import Store
from preftune.provenance.waivers import canonical_digest, read_waivers

WIDTH = 118


def explain_cell(results: Path, table: str, row: str, column: str) -> str:
    """The cell, its value by seed, and every step behind it, the latest first.

    Raises:
        PreftuneError: there is no such cell, or nothing stands behind it.
    """
    store = Store.open(results)
    file, cell = find_cell(store, table, row, column)
    lines = [f"{table} / {cell['row']} / {cell['column']}: {_value(cell)}", *describe_cell(file, cell)]
    if cell["value"] is None:
        return "\n".join([*lines, "  nothing stands behind it: it was not computed at this scale."])
    links = chain_of(store, cell["score_files"])
    if not links:
        raise PreftuneError(f"{cell['score_files'][0]} has no record: run `make results`, then ask again.")
    lines += ["", f"It rests on {len(links)} steps, the latest first:"]
    for number, link in enumerate(links, start=1):
        lines += ["", f"{number}. {link.rule} -> {link.output}"]
        lines += [line for name, text in link.facts for line in _wrap(name, text)]
        lines += _wrap(
            "waived", "other code than now, declared equal in config/code_equivalence.tsv"
        ) * is_waived(link)
        lines += _wrap("made from", "\n".join(link.parents)) if link.parents else []
    return "\n".join(lines)


def is_waived(link: Link) -> bool:
    """Whether a step was made by other code than now, which a waiver lets stand for it."""
    try:
        present, canonical = present_digest(link.rule), code_digest(link.rule)
    except PreftuneError:  # a rule that is no more
        return False
    same = canonical_digest(link.rule, link.digest, read_waivers(WAIVERS)) == canonical
    return link.digest != present and same


def _value(cell: dict[str, Any]) -> str:
    if cell["value"] is None:
        return str(cell["verdict"] or "empty")
    text = f"{cell['value']:.{cell['rounding']}f} {cell['unit']}"
    if cell["interval"]:
        low, high = (f"{bound:.{cell['rounding']}f}" for bound in cell["interval"])
        text += f" [{low}, {high}]"
    return text


def describe_cell(file: str, cell: dict[str, Any]) -> list[str]:
    """What the cell's own record says."""
    seeds = ", ".join(f"{seed}: {value:.6g}" for seed, value in cell["per_seed"].items())
    pairs = [
        ("printed in", f"{file.removesuffix('.audit.json')}.md, .tex and .csv"),
        ("published", f"{cell['published']} ({cell['source']})" if cell["published"] else ""),
        ("verdict", cell["verdict"] + (f": {cell['reason']}" if cell["reason"] else "")),
        ("metric", cell["aggregation"]),
        ("interval", cell["interval_method"] if cell["interval"] else ""),
        ("run", cell["run"]),
        ("by seed", seeds),
        ("items", f"{cell['n_items']}, split {cell['split']}" if cell["n_items"] else ""),
        ("prompts", ", ".join(f"{one['name']} ({one['sha256'][:12]})" for one in cell.get("templates", []))),
        ("score files", "\n".join(cell["score_files"])),
    ]
    return [line for name, text in pairs if text for line in _wrap(name, text)]


def _wrap(name: str, text: str) -> list[str]:
    """`   name: text`, wrapped below itself."""
    lines: list[str] = []
    for part in text.splitlines():
        head = f"   {name + ':':<13}" if not lines else " " * 16
        lines += textwrap.wrap(
            part,
            WIDTH,
            initial_indent=head,
            subsequent_indent=" " * 16,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines

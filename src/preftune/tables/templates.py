"""Which template sets a table's questions were worded with: read from score files, and said under the table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from preftune.tables.cells import CellRecord
from preftune.tables.scores import ScoreStore

SHOWN = 8  # characters of a hash
Templates = tuple[dict[str, str], ...]


def state_templates(records: Iterable[CellRecord], store: ScoreStore) -> list[CellRecord]:
    """The records with the template sets that their score files state; older files, and those of captions, state none."""
    return [replace(record, templates=find_templates(record.score_files, store)) for record in records]


def find_templates(files: Iterable[str], store: ScoreStore) -> Templates:
    """Name and sha256 of the template sets of some files, each once, by name."""
    found = {template for file in files if (template := store.template(file)) is not None}
    return tuple({"name": name, "sha256": sha256} for name, sha256 in sorted(found))


def describe_templates(records: Sequence[CellRecord]) -> list[str]:
    """Whether the rows of a table share one template set, and what is known of the prompts of cited rows.

    Cells that are not from scored questions (parameters, drift) have no prompts; without any template set there is no line.
    """
    scored = [record for record in records if record.value is not None and (record.score or record.templates)]
    lines = compare_templates([(record.row, record.templates) for record in scored])
    if any(record.verdict == "cited" for record in records):
        lines.append("Cited rows were scored by others, with other prompts or none.")
    return lines


def compare_templates(rows: Sequence[tuple[str, Templates]]) -> list[str]:
    """Whether rows (label, template sets) share one set: one line, or none where no row states any."""
    if not any(templates for _, templates in rows):
        return []
    found: dict[str, list[str]] = {}
    for label, templates in rows:
        for name in map(_show, templates) if templates else ["not stated"]:
            found.setdefault(name, []).append(label)
    listed = [f"{name}: rows {', '.join(dict.fromkeys(own))}" for name, own in found.items()]
    return [f"Prompts: {next(iter(found))}." if len(found) == 1 else f"Prompts differ: {'; '.join(listed)}."]


def list_templates(templates: Templates) -> str:
    """`chat (<sha256>)` of each set, with the whole hash."""
    return ", ".join(f"{one['name']} ({one['sha256']})" for one in templates)


def _show(template: dict[str, str]) -> str:
    return f"{template['name']} ({template['sha256'][:SHOWN]})"

"""What the command lines of the tables share: where a table goes, and how it is written."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from preftune.files import atomic_write_text
from preftune.step import Step
from preftune.tables.assemble import Setting
from preftune.tables.cells import CellRecord
from preftune.tables.files import write_records
from preftune.tables.render import render_csv, render_latex, render_markdown

OUTPUTS = ("output", "markdown", "latex", "audit")


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """Options of the files that a table is written to."""
    parser.add_argument("--output", type=Path, required=True, help="table, one row a cell (.csv)")
    parser.add_argument("--markdown", type=Path, required=True, help="table for people (.md)")
    parser.add_argument("--latex", type=Path, required=True, help="table for papers (.tex)")
    parser.add_argument("--audit", type=Path, required=True, help="cell records (.audit.json)")


def write_table(step: Step, table: str, records: Sequence[CellRecord], setting: Setting) -> None:
    """Write the records of a table in every form, and note how many cells were measured."""
    records, setting = list(records), replace(setting, fingerprint=step.fingerprint)
    atomic_write_text(step.out(), render_csv(records, setting))
    atomic_write_text(step.out("markdown"), render_markdown(table, records, setting))
    atomic_write_text(step.out("latex"), render_latex(table, records, setting))
    write_records(step.out("audit"), "cell", step.fingerprint, (record.as_json() for record in records))
    step.note(cells=len(records), measured=sum(record.value is not None for record in records))

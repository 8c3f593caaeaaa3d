"""Judge the claims of one paper from score files: effect, paired interval, n, published numbers and verdict.

Input: the registries of claims and cells, and the scores of the runs. Output: the table as csv, Markdown and
LaTeX, and the records of the claims (JSON).
"""

from pathlib import Path

import _repo
from preftune.files import atomic_write_text
from preftune.command_line import step_parser
from preftune.step import Step
from preftune.tables.assemble import Setting
from preftune.tables.captioners import CaptioningTableSettings
from preftune.tables.cells import read_cells
from preftune.tables.claims import judge_claims, name_runs, read_claims
from preftune.tables.claims_render import render_claims_csv, render_claims_latex, render_claims_markdown
from preftune.tables.equal_data import picked_runs
from preftune.tables.files import write_records
from preftune.tables.scores import ScoreStore


CELLS = _repo.ROOT / "config" / "cells.tsv"


def main(argv: list[str] | None = None) -> None:
    """Judge and write the claims of one paper."""
    parser = step_parser(__doc__)
    parser.add_argument("--claims", type=Path, required=True, help="registry of claims (config/claims.tsv)")
    parser.add_argument("--cells", type=Path, default=CELLS, help="registry of cells (config/cells.tsv)")
    parser.add_argument("--scores", type=Path, nargs="*", default=[], help="score files or folders")
    parser.add_argument("--output", type=Path, required=True, help="table, one row a claim (.csv)")
    parser.add_argument("--markdown", type=Path, required=True, help="table for people (.md)")
    parser.add_argument("--latex", type=Path, required=True, help="table for papers (.tex)")
    parser.add_argument("--audit", type=Path, required=True, help="records of the claims (.audit.json)")
    outputs = ("output", "markdown", "latex", "audit")
    inputs = ("claims", "cells", "scores")
    with Step.start(parser, argv, rule="tabulate_claims", inputs=inputs, outputs=outputs) as step:
        settings = step.settings(CaptioningTableSettings)
        arguments = step.arguments
        setting = Setting(settings.scale, settings.data, step.fingerprint)
        cells = read_cells(arguments.cells)
        claims = [claim for claim in read_claims(arguments.claims, cells) if claim.paper == settings.paper]
        store = ScoreStore(arguments.scores, settings.runs)
        claims = name_runs(claims, picked_runs(store, settings.captioners))
        records = judge_claims(claims, cells, store)
        atomic_write_text(step.out(), render_claims_csv(records, setting))
        atomic_write_text(step.out("markdown"), render_claims_markdown(settings.paper, records, setting))
        atomic_write_text(step.out("latex"), render_claims_latex(settings.paper, records, setting))
        write_records(step.out("audit"), "claim", step.fingerprint, (record.as_json() for record in records))
        step.note(claims=len(records), compared=sum(record.effect is not None for record in records))


if __name__ == "__main__":
    main()

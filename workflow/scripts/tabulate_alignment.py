"""Make one table about alignments that the paper does not print: every cell with interval and n.

Inputs, each left out where it was not made: the scores of the runs (folders that hold `<run>/seed-<n>/<task>.json`
and `.parquet`), their drift (folders with `drift.json` and `drift.parquet`), their choices among sampled answers
(`best_of.json` and `best_of.parquet`), the records of their trainings and of the
SFT models' passes over the pairs (`<run>/seed-<n>/run.json`), the gradients and the overlap of evaluation and training
mixes (JSON), and the claims, whose pairs of systems are tested task by task. Output: the table as csv (one row a cell),
Markdown and LaTeX, and the cell records (JSON).
"""

from pathlib import Path

import _repo
from preftune.command_line import step_parser
from preftune.step import Step
from preftune.tables.alignment import alignment_records
from preftune.tables.assemble import Setting
from preftune.tables.command import OUTPUTS, add_outputs, write_table
from preftune.tables.cells import read_cells
from preftune.tables.claims import read_claims
from preftune.tables.settings import AlignmentTableSettings
from preftune.tables.sources import Sources

CELLS = _repo.ROOT / "config" / "cells.tsv"


def main(argv: list[str] | None = None) -> None:
    """Build and write one table."""
    parser = step_parser(__doc__)
    parser.add_argument("--table", required=True, help="name of the table")
    parser.add_argument("--scores", type=Path, nargs="*", default=[], help="score files or folders")
    parser.add_argument("--drift", type=Path, nargs="*", default=[], help="drift files or folders")
    parser.add_argument("--records", type=Path, nargs="*", default=[], help="run.json of trained models")
    parser.add_argument("--references", type=Path, nargs="*", default=[], help="run.json of reference passes")
    parser.add_argument("--gradients", type=Path, help="norms of the gradients (gradients.json)")
    parser.add_argument("--overlap", type=Path, help="overlap with the training mixes (overlap.json)")
    parser.add_argument("--best-of", type=Path, nargs="*", default=[], help="best-of-n files or folders")
    parser.add_argument("--claims", type=Path, help="registry of claims (config/claims.tsv)")
    parser.add_argument("--cells", type=Path, default=CELLS, help="registry of cells (config/cells.tsv)")
    add_outputs(parser)
    inputs = (
        "scores",
        "drift",
        "records",
        "references",
        "gradients",
        "overlap",
        "best_of",
        "claims",
        "cells",
    )
    with Step.start(parser, argv, rule="tabulate_alignment", inputs=inputs, outputs=OUTPUTS) as step:
        settings, given = step.settings(AlignmentTableSettings), step.arguments
        setting = Setting(settings.scale, settings.data)
        sources = Sources.read(
            settings.runs,
            given.scores,
            given.drift,
            given.records,
            given.references,
            given.gradients,
            given.overlap,
            read_claims(given.claims, read_cells(given.cells)) if given.claims else (),
            given.best_of,
        )
        records = alignment_records(given.table, sources, settings)
        write_table(step, given.table, records, setting)


if __name__ == "__main__":
    main()

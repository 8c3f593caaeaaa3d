"""Make one table from score files: every cell with interval, n, the published number and a verdict.

Input: the registry of cells and the scores of the runs (files, or folders that hold
`<run>/seed-<n>/<name>.json` and `.parquet`). Output: the table as csv (one row a cell), Markdown and LaTeX,
and the cell records (JSON).
"""

from pathlib import Path

import _repo  # noqa: F401
from preftune.errors import PreftuneError
from preftune.settings.report import TableSettings
from preftune.command_line import step_parser
from preftune.step import Step
from preftune.tables.assemble import Setting, build_records
from preftune.tables.command import OUTPUTS, add_outputs, write_table
from preftune.tables.cells import TABLES, CellRecord, read_cells
from preftune.tables.lists import ablation_records
from preftune.tables.scores import ScoreStore
from preftune.tables.templates import state_templates


def make_records(table: str, cells: Path, scores: list[Path], settings: TableSettings) -> list[CellRecord]:
    """Records of a table of the paper: from the registry, or from the runs where nothing is published."""
    if table not in TABLES[settings.paper]:
        names = ", ".join(TABLES[settings.paper])
        raise PreftuneError(f"--table: {settings.paper} has no table {table}: give one of {names}.")
    store = ScoreStore(scores, settings.runs)
    setting = Setting(settings.scale, settings.data, tolerance=settings.tolerance)
    if table == "ablations":
        return state_templates(ablation_records(settings.runs, store, setting), store)
    chosen = [cell.of(settings.runs) for cell in read_cells(cells) if cell.table == table]
    if not chosen:
        raise PreftuneError(
            f"--table: {cells} has no cell of {table}: make it with the script that its rule calls."
        )
    return state_templates(build_records(chosen, store, setting), store)


def main(argv: list[str] | None = None) -> None:
    """Build and write one table."""
    parser = step_parser(__doc__)
    parser.add_argument("--cells", type=Path, required=True, help="registry of cells (config/cells.tsv)")
    parser.add_argument("--table", required=True, help="name of the table")
    parser.add_argument("--scores", type=Path, nargs="*", default=[], help="score files or folders")
    add_outputs(parser)
    with Step.start(
        parser, argv, rule="tabulate_scores", inputs=("cells", "scores"), outputs=OUTPUTS
    ) as step:
        settings = step.settings(TableSettings)
        table = step.arguments.table
        setting = Setting(settings.scale, settings.data, tolerance=settings.tolerance)
        records = make_records(table, step.arguments.cells, step.arguments.scores, settings)
        write_table(step, table, records, setting)


if __name__ == "__main__":
    main()

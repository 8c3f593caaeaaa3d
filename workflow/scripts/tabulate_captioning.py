"""Make one table from the captioning runs of a scale: captions, controls, equal_data or forgetting.

Inputs: the scores of the runs (folders that hold `<run>/seed-<n>/<name>.json` and `.parquet`) and the records of their trainings
(`<run>/seed-<n>/run.json`), which state how many images each saw. Output: the table as csv (one row a cell), Markdown and LaTeX,
and the cell records (JSON).
"""

from pathlib import Path

import _repo  # noqa: F401
from preftune.command_line import step_parser
from preftune.step import Step
from preftune.tables.assemble import Setting
from preftune.tables.captioners import CaptioningTableSettings
from preftune.tables.captioning import captioning_records
from preftune.tables.command import OUTPUTS, add_outputs, write_table
from preftune.tables.records import Records
from preftune.tables.scores import ScoreStore


def main(argv: list[str] | None = None) -> None:
    """Build and write one table."""
    parser = step_parser(__doc__)
    parser.add_argument("--table", required=True, help="name of the table")
    parser.add_argument("--scores", type=Path, nargs="*", default=[], help="score files or folders")
    parser.add_argument("--records", type=Path, nargs="*", default=[], help="run.json of trained captioners")
    add_outputs(parser)
    with Step.start(
        parser, argv, rule="tabulate_captioning", inputs=("scores", "records"), outputs=OUTPUTS
    ) as step:
        settings, given = step.settings(CaptioningTableSettings), step.arguments
        setting = Setting(settings.scale, settings.data)
        store = ScoreStore(given.scores, settings.runs)
        records = captioning_records(given.table, store, Records.read(given.records), settings)
        write_table(step, given.table, records, setting)


if __name__ == "__main__":
    main()

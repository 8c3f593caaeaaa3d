"""Make the table of the multi-task experiment: every run's score on every task, with interval and n.

Inputs: the score folders of its runs, `<run>/seed-<n>/` with answers.json and perplexity.json and the items beside them.
Output: the table as csv (one row a cell), Markdown and LaTeX, and the cell records (JSON).
"""

from pathlib import Path

import _repo  # noqa: F401
from preftune.command_line import step_parser
from preftune.settings.report import MultitaskTableSettings
from preftune.step import Step
from preftune.tables.assemble import Setting
from preftune.tables.command import OUTPUTS, add_outputs, write_table
from preftune.tables.multitask import TABLE, multitask_records
from preftune.tables.scores import ScoreStore


def main(argv: list[str] | None = None) -> None:
    """Build and write the table."""
    parser = step_parser(__doc__)
    parser.add_argument("--scores", type=Path, nargs="*", default=[], help="score folders of the runs")
    add_outputs(parser)
    with Step.start(parser, argv, rule="tabulate_multitask", inputs=("scores",), outputs=OUTPUTS) as step:
        settings = step.settings(MultitaskTableSettings)
        setting = Setting(settings.scale, settings.data)
        records = multitask_records(ScoreStore(step.arguments.scores, settings.runs), settings)
        write_table(step, TABLE, records, setting)


if __name__ == "__main__":
    main()

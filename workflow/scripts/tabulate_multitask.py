"""Make the table of the multi-task experiment: every run's score on every task, with interval and n.

Inputs: the score folders of its runs, `<run>/seed-<n>/` with answers.json and perplexity.json and the items beside them.
Output: the table as csv (one row a cell), Markdown and LaTeX, and the cell records (JSON).
"""

from pathlib import Path

import _repo  # noqa: F401
from preftune.command_line import step_parser
from preftune.files import atomic_write_text, write_json
from preftune.settings.report import MultitaskTableSettings
from preftune.step import Step
from preftune.tables.assemble import Setting
from preftune.tables.multitask import TABLE, multitask_records
from preftune.tables.render import render_csv, render_latex, render_markdown
from preftune.tables.scores import ScoreStore


def main(argv: list[str] | None = None) -> None:
    """Build and write the table."""
    parser = step_parser(__doc__)
    parser.add_argument("--scores", type=Path, nargs="*", default=[], help="score folders of the runs")
    parser.add_argument("--output", type=Path, required=True, help="table, one row a cell (.csv)")
    parser.add_argument("--markdown", type=Path, required=True, help="table for people (.md)")
    parser.add_argument("--latex", type=Path, required=True, help="table for papers (.tex)")
    parser.add_argument("--audit", type=Path, required=True, help="cell records (.audit.json)")
    outputs = ("output", "markdown", "latex", "audit")
    with Step.start(parser, argv, rule="tabulate_multitask", inputs=("scores",), outputs=outputs) as step:
        settings = step.settings(MultitaskTableSettings)
        setting = Setting(settings.scale, settings.data)
        records = multitask_records(ScoreStore(step.arguments.scores, settings.runs), settings)
        atomic_write_text(step.out(), render_csv(records, setting))
        atomic_write_text(step.out("markdown"), render_markdown(TABLE, records, setting))
        atomic_write_text(step.out("latex"), render_latex(TABLE, records, setting))
        write_json(step.out("audit"), [record.as_json() for record in records])
        step.note(cells=len(records), measured=sum(record.value is not None for record in records))


if __name__ == "__main__":
    main()

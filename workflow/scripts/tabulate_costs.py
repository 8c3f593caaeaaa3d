"""Make the table of what captioning runs cost: parameters, files, memory, operations, time, energy.

Inputs: folders of trained captioners (`<run>/seed-<n>/` with run.json and metrics.jsonl) and their captions
(`<run>/seed-<n>.jsonl` with `<run>/seed-<n>.run.json`). Output: the table as csv (one row a cell), Markdown and LaTeX, and the
cell records (JSON).
"""

from pathlib import Path

import _repo  # noqa: F401
from preftune.command_line import step_parser
from preftune.files import atomic_write_text, write_json
from preftune.step import Step
from preftune.tables.assemble import Setting
from preftune.tables.captioner_costs import cost_records
from preftune.tables.captioners import CaptioningTableSettings
from preftune.tables.records import Records
from preftune.tables.render import render_csv, render_latex, render_markdown


def main(argv: list[str] | None = None) -> None:
    """Build and write the table."""
    parser = step_parser(__doc__)
    parser.add_argument("--models", type=Path, nargs="*", default=[], help="folders of trained captioners")
    parser.add_argument("--captions", type=Path, nargs="*", default=[], help="JSON Lines of their captions")
    parser.add_argument("--output", type=Path, required=True, help="table, one row a cell (.csv)")
    parser.add_argument("--markdown", type=Path, required=True, help="table for people (.md)")
    parser.add_argument("--latex", type=Path, required=True, help="table for papers (.tex)")
    parser.add_argument("--audit", type=Path, required=True, help="cell records (.audit.json)")
    outputs = ("output", "markdown", "latex", "audit")
    with Step.start(
        parser, argv, rule="tabulate_costs", inputs=("models", "captions"), outputs=outputs
    ) as step:
        settings, given = step.settings(CaptioningTableSettings), step.arguments
        setting = Setting(settings.scale, settings.data)
        trainings = Records.read(folder / "run.json" for folder in given.models)
        decodings = Records.read(path.with_suffix(".run.json") for path in given.captions)
        records = cost_records(settings, trainings, decodings)
        atomic_write_text(step.out(), render_csv(records, setting))
        atomic_write_text(step.out("markdown"), render_markdown("costs", records, setting))
        atomic_write_text(step.out("latex"), render_latex("costs", records, setting))
        write_json(step.out("audit"), [record.as_json() for record in records])
        step.note(cells=len(records), measured=sum(record.value is not None for record in records))


if __name__ == "__main__":
    main()

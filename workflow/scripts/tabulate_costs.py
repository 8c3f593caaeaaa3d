"""Make the table of what captioning runs cost: parameters, files, memory, operations, time, energy.

Inputs: folders of trained captioners (`<run>/seed-<n>/` with run.json and metrics.jsonl) and their captions
(`<run>/seed-<n>.jsonl` with `<run>/seed-<n>.run.json`). Output: the table as csv (one row a cell), Markdown and LaTeX, and the
cell records (JSON).
"""

from pathlib import Path

import _repo  # noqa: F401
from preftune.command_line import step_parser
from preftune.step import Step
from preftune.tables.assemble import Setting
from preftune.tables.captioner_costs import cost_records
from preftune.tables.captioners import CaptioningTableSettings
from preftune.tables.command import OUTPUTS, add_outputs, write_table
from preftune.tables.records import Records


def main(argv: list[str] | None = None) -> None:
    """Build and write the table."""
    parser = step_parser(__doc__)
    parser.add_argument("--models", type=Path, nargs="*", default=[], help="folders of trained captioners")
    parser.add_argument("--captions", type=Path, nargs="*", default=[], help="JSON Lines of their captions")
    add_outputs(parser)
    with Step.start(
        parser, argv, rule="tabulate_costs", inputs=("models", "captions"), outputs=OUTPUTS
    ) as step:
        settings, given = step.settings(CaptioningTableSettings), step.arguments
        setting = Setting(settings.scale, settings.data)
        trainings = Records.read(folder / "run.json" for folder in given.models)
        decodings = Records.read(path.with_suffix(".run.json") for path in given.captions)
        records = cost_records(settings, trainings, decodings)
        write_table(step, "costs", records, setting)


if __name__ == "__main__":
    main()

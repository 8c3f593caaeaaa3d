"""Export tables, figures, gallery, run times and deviations as one HTML file that needs nothing else.

Inputs: a results folder; with --captions and --images, the gallery's captions as text.
Output: the report.
"""

import _repo

from collections.abc import Sequence
from pathlib import Path

from preftune.figures.settings import ReportSettings
from preftune.files import atomic_write_text
from preftune.provenance.records import list_records
from preftune.report.collect import list_report_files
from preftune.report.pictures import read_gallery
from preftune.report.render import render_report
from preftune.command_line import step_parser
from preftune.step import Step

TEMPLATE = _repo.ROOT / "workflow" / "report" / "report.html.j2"
DEVIATIONS = _repo.ROOT / "docs" / "deviations.md"


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, gather the results and write the page."""
    parser = step_parser(__doc__)
    parser.add_argument("--results", type=Path, required=True, help="folder of the results")
    parser.add_argument(
        "--captions", type=Path, nargs="*", default=[], help="captions files <run>/seed-<n>.jsonl"
    )
    parser.add_argument("--images", type=Path, help="folder below which the images of the captions lie")
    parser.add_argument("--output", type=Path, required=True, help="HTML file")
    step = Step.start(parser, argv, rule="export_report", inputs=("files", "captions"))
    arguments = step.arguments
    # The results folder holds every model: only what the page shows is hashed as an input.
    documents = [TEMPLATE, DEVIATIONS] if DEVIATIONS.is_file() else [TEMPLATE]
    records = list_records(arguments.results)
    arguments.files = [*list_report_files(arguments.results), *records, *documents]
    with step:
        settings = step.settings(ReportSettings)
        show = bool(arguments.captions and arguments.images and settings.gallery_images)
        pictures = read_gallery(arguments.captions, arguments.images, settings.gallery_images) if show else []
        deviations = DEVIATIONS if DEVIATIONS.is_file() else None
        page = render_report(arguments.results, settings, TEMPLATE, pictures, deviations)
        atomic_write_text(step.out(), page)
        step.note(files=len(arguments.files), characters=len(page), pictures=len(pictures))


if __name__ == "__main__":
    main()

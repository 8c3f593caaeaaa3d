"""Copy the tables, charts and records of a finished run to results/published/<scale> and into the page that shows them.

Input: a results folder. Output: the published folder, replaced as a whole, and the page's text between each
`<!-- generated:<paper>/<table> -->` and the next `<!-- /generated -->`.
"""

from pathlib import Path

import _repo  # noqa: F401
from preftune.files import atomic_write_text
from preftune.command_line import step_parser
from preftune.step import Step
from preftune.tables.pages import fill_markers, read_blocks, show_chain
from preftune.tables.publish import copy_files, select_files


def main(argv: list[str] | None = None) -> None:
    """Publish one scale's results."""
    parser = step_parser(__doc__)
    parser.add_argument("--results", type=Path, required=True, help="results folder of the scale")
    parser.add_argument("--destination", type=Path, required=True, help="folder below results/published")
    parser.add_argument("--audit", type=Path, help="record of the audit that the results have just passed")
    parser.add_argument("--page", type=Path, help="Markdown page whose generated tables are replaced")
    with Step.start(parser, argv, rule="export_published", outputs=("destination",)) as step:
        results, page = step.arguments.results, step.arguments.page
        files = select_files(results)
        # The page is checked before anything is replaced and written last.
        text = None
        if page is not None:
            text = page.read_text(encoding="utf-8")
            blocks = read_blocks(results)
            if "<!-- generated:why -->" in text:
                blocks["why"] = show_chain(results)
            text = fill_markers(text, blocks, str(page))
        copy_files(results, files, step.out("destination"))
        if step.arguments.audit is not None:
            audit = step.arguments.audit
            copy_files(audit.parent, [Path(audit.name)], step.out("destination"))
        step.note(files=len(files))
    if text is not None and page is not None:
        atomic_write_text(page, text)


if __name__ == "__main__":
    main()

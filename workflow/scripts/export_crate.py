"""Describe a results folder as a Provenance Run RO-Crate, whose root the folder is.

Input: a results folder. Output: its ro-crate-metadata.json, and a folder code/ in it with the workflow's own files, which a
crate must hold. Models and data outside the folder are described, not copied.
"""

from pathlib import Path

import _repo  # noqa: F401
from preftune.command_line import step_parser
from preftune.errors import PreftuneError
from preftune.exports.crate import CODE, build_crate, copy_workflow, workflow_files
from preftune.exports.values import dump, refuse_private
from preftune.files import atomic_write_text
from preftune.provenance.records import list_records
from preftune.provenance.store import Store
from preftune.step import Step


def check_places(results: Path, output: Path, code: Path) -> None:
    """The crate's root is the folder of its metadata file."""
    if output != results / "ro-crate-metadata.json" or code != results / CODE:
        raise PreftuneError(
            f"--output {output}, --code {code}: give {results / 'ro-crate-metadata.json'} and {results / CODE}."
        )


def main(argv: list[str] | None = None) -> None:
    """Describe one folder."""
    parser = step_parser(__doc__)
    parser.add_argument("--results", type=Path, required=True, help="results folder of the scale")
    parser.add_argument("--output", type=Path, required=True, help="ro-crate-metadata.json in that folder")
    parser.add_argument("--code", type=Path, required=True, help="code/ in that folder")
    step = Step.start(parser, argv, rule="export_crate", inputs=("files",), outputs=("output", "code"))
    arguments = step.arguments
    # The results folder holds every model: only the records and the workflow are hashed as inputs.
    arguments.files = [*list_records(arguments.results), *workflow_files()]
    with step:
        check_places(arguments.results, arguments.output, arguments.code)
        store = Store.open(arguments.results.resolve())
        for fault in store.faults:
            step.warn(f"left out of the crate: {fault.says}")
        copy_workflow(step.out("code"))
        crate = build_crate(store, step.out("code"))
        atomic_write_text(step.out(), refuse_private(dump(crate), "the crate"))
        step.note(entities=len(crate["@graph"]), records=len(store.records))


if __name__ == "__main__":
    main()

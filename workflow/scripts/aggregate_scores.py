"""Index of every score of one paper: what tables and figures wait for, so that each of them has one input and not hundreds.

Input: score folders of a run and seed. Output: one JSON object, path -> SHA-256: a folder's record, which holds the hashes of its
files, or each of its score files where these have records of their own.
"""

import _repo  # noqa: F401
from pathlib import Path

from preftune.command_line import step_parser
from preftune.files import sha256_file, write_json
from preftune.step import Step


def list_scores(folder: Path) -> list[Path]:
    """What stands for the scores of a folder."""
    record = folder / "run.json"
    files = folder.glob("*.json")
    return [record] if record.is_file() else [file for file in files if not file.name.endswith(".run.json")]


def main(argv: list[str] | None = None) -> None:
    """Write the index."""
    parser = step_parser(__doc__)
    parser.add_argument("--scores", type=Path, nargs="+", required=True, help="score folders")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    with Step.start(parser, argv, rule="aggregate_scores", inputs=("scores",)) as step:
        files = sorted(file for folder in step.arguments.scores for file in list_scores(folder))
        write_json(step.out(), {path.as_posix(): sha256_file(path) for path in files})
        step.note(scores=len(files))


if __name__ == "__main__":
    main()

"""Index of every score of one paper: what tables and figures wait for, so that each of them has one input and not hundreds.

Input: score folders of a run and seed. Output: one JSON object, path -> SHA-256: a folder's record with the hash of the files beside
it, or each of its score files where these have records of their own.
"""

import _repo  # noqa: F401
from pathlib import Path

from preftune.command_line import step_parser
from preftune.files import sha256_file, sha256_tree, write_json
from preftune.step import Step


def list_scores(folder: Path) -> list[Path]:
    """What stands for the scores of a folder."""
    record = folder / "run.json"
    files = folder.glob("*.json")
    return [record] if record.is_file() else [file for file in files if not file.name.endswith(".run.json")]


def hash_scores(path: Path) -> str:
    """SHA-256 of scores; what a record says beside them, times and machines, does not make equal scores different."""
    return sha256_tree(path.parent) if path.name == "run.json" else sha256_file(path)


def main(argv: list[str] | None = None) -> None:
    """Write the index."""
    parser = step_parser(__doc__)
    parser.add_argument("--scores", type=Path, nargs="+", required=True, help="score folders")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    with Step.start(parser, argv, rule="aggregate_scores", inputs=("scores",)) as step:
        files = sorted(file for folder in step.arguments.scores for file in list_scores(folder))
        write_json(step.out(), {path.as_posix(): hash_scores(path) for path in files})
        step.note(scores=len(files))


if __name__ == "__main__":
    main()

"""Scores of one system on every task: log-probability and, with a head, reward, from the same forward pass.

Inputs: a base model folder, a checkpoint (absent: the base model itself), the prepared data sets and, for an aligned
model, the scores of the SFT model that it started from, against which its implicit rewards are taken. Output: a folder
with `<task>.json` (metrics) and `<task>.parquet` (one row a candidate) for every task, and with states: true
`states.safetensors`: by task what a reward head would read of every candidate.
"""

import _repo  # noqa: F401
from pathlib import Path

from preftune.command_line import step_parser
from preftune.evaluation.evaluate import add_options, evaluate
from preftune.step import Step


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    add_options(parser)
    parser.add_argument(
        "--reference", type=Path, help="score folder of the SFT model that this one started from"
    )
    inputs = ("base", "model", "reference", "datasets", "templates")
    with Step.start(parser, argv, rule="evaluate_tasks", inputs=inputs) as step:
        evaluate(step)


if __name__ == "__main__":
    main()

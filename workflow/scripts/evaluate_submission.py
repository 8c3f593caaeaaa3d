"""Scores of one run on the test splits with hidden labels, for the GLUE server.

Inputs: a base model folder, a checkpoint (absent: the base model itself) and the prepared data sets. Output: a folder
with `<task>.json` and `<task>.parquet` (one row a candidate) for every task, without metrics.
"""

import _repo  # noqa: F401

from preftune.command_line import step_parser
from preftune.evaluation.evaluate import add_options, evaluate
from preftune.step import Step


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    add_options(parser)
    # The server takes no implicit rewards, which are all that a reference is for.
    parser.set_defaults(reference=None)
    inputs = ("base", "model", "datasets", "templates")
    with Step.start(parser, argv, rule="evaluate_submission", inputs=inputs) as step:
        evaluate(step)


if __name__ == "__main__":
    main()

"""Gradient norms of each alignment loss in each part of the model, at every level of freezing.

Inputs: a base model folder, the SFT checkpoint, the prepared preference mix and its reference log-probabilities.
Output: a JSON list of {loss, freeze, part, norm, trainable, tied}: norm is null where no gradient arrives; trainable
counts the part's parameters that are not frozen; where tied is true the language-model head is counted as embeddings.
"""

import _repo  # noqa: F401
from pathlib import Path

from preftune.files import write_json
from preftune.models.devices import resolve_device, resolve_dtype
from preftune.preference.data import hash_trees, read_pairs
from preftune.preference.gradients import measure_gradients
from preftune.preference.reference import ReferenceKey, read_reference
from preftune.settings.evaluation import GradientSettings
from preftune.command_line import step_parser
from preftune.step import Step


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--base", type=Path, required=True, help="folder of the base language model")
    parser.add_argument("--model", type=Path, required=True, help="folder of the SFT checkpoint")
    parser.add_argument("--data", type=Path, required=True, help="prepared preference mix")
    parser.add_argument("--reference", type=Path, required=True, help="folder of compute_reference")
    parser.add_argument("--output", type=Path, required=True, help="JSON of the norms")
    inputs = ("base", "model", "data", "reference")
    with Step.start(parser, argv, rule="compute_gradients", inputs=inputs) as step:
        compute(step)


def compute(step: Step) -> None:
    """Differentiate every loss at every level and write the norms."""
    arguments, settings = step.arguments, step.settings(GradientSettings)
    pairs = read_pairs(arguments.data)
    device = resolve_device(arguments.device)
    dtype = resolve_dtype(settings.dtype, device)
    key = ReferenceKey(step.input_hash("base"), step.input_hash("model"), hash_trees(pairs), str(dtype))
    reference = read_reference(arguments.reference, key)[: settings.pairs]
    pairs = pairs[: settings.pairs]
    rows = measure_gradients(arguments.base, arguments.model, pairs, reference, arguments.seed, device, dtype)
    write_json(step.out(), list(rows))
    step.note(pairs=len(pairs), dtype=str(dtype))


if __name__ == "__main__":
    main()

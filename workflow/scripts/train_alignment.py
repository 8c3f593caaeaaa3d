"""Alignment of an SFT checkpoint with Direct Preference Heads, DPO, or both.

Inputs: a base model folder, the SFT checkpoint (its adapter, or the whole model, is trained further; the
checkpoint itself stays as it is), the prepared preference mix and, when DPO is on, the reference
log-probabilities of that mix. Output: a folder as the SFT checkpoint's, with `head.safetensors` and
`head.json` (unless dph is none) and `metrics.jsonl`, one row a step.
"""

import _repo  # noqa: F401
from pathlib import Path

from preftune.models.language import resolve_device, resolve_dtype
from preftune.preference.alignment import AlignmentObjective, parameter_groups, start_alignment
from preftune.preference.data import read_pairs
from preftune.preference.reference import read_reference
from preftune.settings import AlignmentSettings
from preftune.step import Step, step_parser
from preftune.training.checkpoints import count_parameters
from preftune.training.loop import fit


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--base", type=Path, required=True, help="folder of the base language model")
    parser.add_argument(
        "--model", type=Path, required=True, help="folder of the SFT checkpoint to start from"
    )
    parser.add_argument("--data", type=Path, required=True, help="prepared preference mix")
    parser.add_argument("--reference", type=Path, help="folder of compute_reference; needed when dpo is on")
    parser.add_argument("--output", type=Path, required=True, help="folder of the aligned model")
    with Step.start(
        parser, argv, rule="train_alignment", inputs=("base", "model", "data", "reference")
    ) as step:
        train(step)


def train(step: Step) -> None:
    """Align and write the model."""
    arguments, settings = step.arguments, step.settings(AlignmentSettings)
    pairs = read_pairs(arguments.data)
    reference = None
    if settings.dpo and arguments.reference is not None:
        reference = read_reference(arguments.reference, pairs)
    device = resolve_device(arguments.device)
    dtype = resolve_dtype(settings.dtype, device)
    model = start_alignment(arguments.base, arguments.model, settings, arguments.seed, device, dtype)
    objective = AlignmentObjective(model.train(), pairs, reference, settings)
    output = step.out()
    output.mkdir(parents=True)
    facts = fit(
        parameter_groups(model, settings),
        objective,
        len(pairs),
        settings.training,
        arguments.seed,
        output / "metrics.jsonl",
        "alignment",
    )
    model.save_pretrained(output)
    step.note(**facts, **count_parameters(model), dtype=str(dtype), pairs=len(pairs))


if __name__ == "__main__":
    main()

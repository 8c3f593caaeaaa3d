"""Alignment of an SFT checkpoint with Direct Preference Heads, DPO, or both.

Inputs: a base model folder, the SFT checkpoint (what freeze leaves free is trained further; the
checkpoint itself stays as it is), the prepared preference mix and, where the policy's loss needs it, the reference
log-probabilities of that mix. Output: a model folder (an adapter where one was trained further, else a whole model), with
`head.safetensors` and `head.json` (unless dph is none) and `metrics.jsonl`, one row a step. Stopped by SIGTERM, SIGUSR1 or Ctrl-C it keeps its
state and ends with exit code 75; the same command goes on. Several devices: torchrun --nproc-per-node N
workflow/scripts/train_alignment.py ...
"""

import _repo  # noqa: F401
from pathlib import Path

from preftune.errors import PreftuneError
from preftune.models.devices import resolve_device, resolve_dtype
from preftune.models.policy import count_parameters
from preftune.preference.alignment import (
    AlignmentObjective,
    parameter_groups,
    save_alignment,
    start_alignment,
)
from preftune.preference.data import hash_trees, read_pairs
from preftune.preference.reference import ReferenceKey, read_reference
from preftune.processes import leads
from preftune.settings.alignment import AlignmentSettings
from preftune.command_line import step_parser
from preftune.step import Step
from preftune.training import distributed
from preftune.training.checkpoints import Checkpoints
from preftune.training.loop import Place, fit


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--base", type=Path, required=True, help="folder of the base language model")
    parser.add_argument(
        "--model", type=Path, required=True, help="folder of the SFT checkpoint to start from"
    )
    parser.add_argument("--data", type=Path, required=True, help="prepared preference mix")
    parser.add_argument(
        "--reference", type=Path, help="folder of compute_reference; needed by policy: dpo and ipo"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of the aligned model")
    with Step.start(
        parser, argv, rule="train_alignment", inputs=("base", "model", "data", "reference")
    ) as step:
        train(step)


def train(step: Step) -> None:
    """Align and write the model."""
    arguments, settings = step.arguments, step.settings(AlignmentSettings)
    if settings.freeze == "model":
        raise PreftuneError(
            "train_alignment trains the language model, but freeze is model: call train_heads for a head alone."
        )
    pairs = read_pairs(arguments.data)
    with distributed.join(resolve_device(arguments.device)) as device:
        dtype = resolve_dtype(settings.dtype, device)
        reference = None
        if settings.needs_reference and arguments.reference is not None:
            key = ReferenceKey(
                step.input_hash("base"), step.input_hash("model"), hash_trees(pairs), str(dtype)
            )
            reference = read_reference(arguments.reference, key)
        model = start_alignment(arguments.base, arguments.model, settings, arguments.seed, device, dtype)
        model.train()
        model.reader.prepare(settings.training)
        objective = AlignmentObjective(model, pairs, reference, settings, arguments.seed)
        output = step.out()
        output.mkdir(parents=True)
        place = Place(
            device,
            dtype,
            arguments.seed,
            output / "metrics.jsonl",
            "alignment",
            Checkpoints(*step.scratch(device.type, dtype)),
        )
        facts = fit(parameter_groups(model, settings), objective, settings.training, place, step.warn)
        counts = count_parameters(model)
        if leads():
            save_alignment(model, arguments.model, output)
    step.note(**facts, **counts, dtype=str(dtype), pairs=len(pairs))


if __name__ == "__main__":
    main()

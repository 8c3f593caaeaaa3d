"""Supervised fine-tuning on the answers of the SFT mix.

Inputs: a base model folder, the prepared mix and, after another stage (new chat tokens taught with frozen blocks), that
stage's checkpoint. Output: a PEFT adapter folder (a whole model without lora, or where the start was a checkpoint) with `metrics.jsonl`, one row a step. Stopped by SIGTERM, SIGUSR1 or Ctrl-C it keeps its state and ends with exit
code 75; the same command goes on. Several devices: torchrun --nproc-per-node N workflow/scripts/train_sft.py ...
"""

import _repo  # noqa: F401
from pathlib import Path

from preftune.models.devices import resolve_device, resolve_dtype
from preftune.models.policy import count_parameters, start_policy, trainable_parameters
from preftune.preference.data import read_completions
from preftune.preference.heads import PreferenceModel
from preftune.processes import leads
from preftune.settings.sft import SftSettings
from preftune.settings.training import FreezingLevel
from preftune.command_line import step_parser
from preftune.step import Step
from preftune.training import distributed
from preftune.training.checkpoints import Checkpoints
from preftune.training.loop import Place, fit
from preftune.training.sft import SftObjective


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--base", type=Path, required=True, help="folder of the base language model")
    parser.add_argument(
        "--model", type=Path, help="folder of a checkpoint to start from; absent: the base model itself"
    )
    parser.add_argument("--data", type=Path, required=True, help="prepared SFT mix")
    parser.add_argument("--output", type=Path, required=True, help="folder of the fine-tuned model")
    with Step.start(parser, argv, rule="train_sft", inputs=("base", "model", "data")) as step:
        train(step)


def train(step: Step) -> None:
    """Fine-tune and write the model."""
    arguments, settings = step.arguments, step.settings(SftSettings)
    rows = read_completions(arguments.data)
    with distributed.join(resolve_device(arguments.device)) as device:
        dtype = resolve_dtype(settings.dtype, device)
        freeze: FreezingLevel = settings.freeze if settings.lora is None else "lora"
        policy, tokenizer = start_policy(
            arguments.model or arguments.base,
            arguments.base,
            freeze,
            settings.lora,
            arguments.seed,
            device,
            dtype,
        )
        model = PreferenceModel(policy, tokenizer).train()
        model.reader.prepare(settings.training)
        output = step.out()
        output.mkdir(parents=True)
        place = Place(
            device,
            dtype,
            arguments.seed,
            output / "metrics.jsonl",
            "SFT",
            Checkpoints(*step.scratch(device.type, dtype)),
        )
        groups = [{"params": trainable_parameters(model)}]
        facts = fit(groups, SftObjective(model, rows), settings.training, place, step.warn)
        counts = count_parameters(model)
        if arguments.model is not None:
            # An adapter is kept apart from the base model only: nobody else looks for it on a checkpoint.
            model.merge_adapter()
        if leads():
            model.save_pretrained(output)
    step.note(**facts, **counts, dtype=str(dtype), rows=len(rows))


if __name__ == "__main__":
    main()

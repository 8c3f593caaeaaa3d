"""Supervised fine-tuning on the answers of the SFT mix.

Inputs: a base model folder and the prepared mix. Output: a PEFT adapter folder (or a whole model, without
lora) with `metrics.jsonl`, one row a step. Stopped by SIGTERM, SIGUSR1 or Ctrl-C it keeps its state and ends with exit
code 75; the same command goes on. Several devices: torchrun --nproc-per-node N workflow/scripts/train_sft.py ...
"""

import _repo  # noqa: F401
from pathlib import Path

from preftune.models.language import resolve_device, resolve_dtype
from preftune.models.policy import count_parameters, new_policy, trainable_parameters
from preftune.preference.data import read_completions
from preftune.preference.heads import PreferenceModel
from preftune.processes import leads
from preftune.settings import SftSettings
from preftune.command_line import step_parser
from preftune.step import Step
from preftune.training import distributed
from preftune.training.checkpoints import Checkpoints
from preftune.training.loop import Place, fit
from preftune.training.sft import SftObjective


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--base", type=Path, required=True, help="folder of the base language model")
    parser.add_argument("--data", type=Path, required=True, help="prepared SFT mix")
    parser.add_argument("--output", type=Path, required=True, help="folder of the fine-tuned model")
    with Step.start(parser, argv, rule="train_sft", inputs=("base", "data")) as step:
        train(step)


def train(step: Step) -> None:
    """Fine-tune and write the model."""
    arguments, settings = step.arguments, step.settings(SftSettings)
    rows = read_completions(arguments.data)
    with distributed.join(resolve_device(arguments.device)) as device:
        dtype = resolve_dtype(settings.dtype, device)
        policy, tokenizer = new_policy(arguments.base, settings.lora, arguments.seed, device, dtype)
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
        if leads():
            model.save_pretrained(output)
    step.note(**facts, **count_parameters(model), dtype=str(dtype), rows=len(rows))


if __name__ == "__main__":
    main()

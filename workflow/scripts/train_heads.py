"""A reward head on a language model that stays as it is, trained on states that were computed once.

Inputs: the SFT checkpoint, whose files are copied, and the folder of compute_reference made with states: true. Output: a
folder as the SFT checkpoint's, with `head.safetensors`, `head.json` and `metrics.jsonl`, one row a step. Stopped by SIGTERM,
SIGUSR1 or Ctrl-C it keeps its state and ends with exit code 75; the same command goes on.
"""

import _repo  # noqa: F401
from pathlib import Path

import torch

from preftune.errors import PreftuneError
from preftune.models.devices import resolve_device
from preftune.preference.frozen import HeadObjective, copy_policy, head_group
from preftune.preference.reference import read_states
from preftune.preference.reward_head import HeadConfig, RewardHead, save_head
from preftune.settings.alignment import AlignmentSettings
from preftune.command_line import step_parser
from preftune.step import Step
from preftune.training.checkpoints import Checkpoints
from preftune.training.loop import Place, fit


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder of the SFT checkpoint")
    parser.add_argument(
        "--reference", type=Path, required=True, help="folder of compute_reference with the states"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of the model with its head")
    with Step.start(parser, argv, rule="train_heads", inputs=("model", "reference")) as step:
        train(step)


def train(step: Step) -> None:
    """Train the head and write it beside a copy of the checkpoint."""
    arguments, settings = step.arguments, step.settings(AlignmentSettings)
    if settings.freeze != "model":
        raise PreftuneError(
            f"train_heads trains a head alone, but freeze is {settings.freeze}: set freeze to model, or call train_alignment."
        )
    device = resolve_device(arguments.device)
    pairs, shape = read_states(arguments.reference, step.input_hash("model"))
    torch.manual_seed(arguments.seed)
    head = RewardHead(HeadConfig(settings.pooler, **shape, dropout=settings.reward_dropout)).to(device)
    output = step.out()
    copy_policy(arguments.model, output)
    place = Place(
        device,
        torch.float32,
        arguments.seed,
        output / "metrics.jsonl",
        "head",
        Checkpoints(*step.scratch(device.type)),
    )
    objective = HeadObjective(head, pairs, settings, arguments.seed)
    facts = fit([head_group(head, settings)], objective, settings.training, place, step.warn)
    save_head(head, output)
    trained = sum(parameter.numel() for parameter in head.parameters())
    step.note(**facts, trainable_parameters=trained, dtype="torch.float32", pairs=len(pairs.names))


if __name__ == "__main__":
    main()

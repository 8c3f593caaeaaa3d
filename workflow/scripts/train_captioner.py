"""Train one captioning run: a connector and context adapters (or the whole language model) on captioned
images.

Input: a language model folder, precomputed image features, the prepared captions.
Output: a folder with connector.safetensors, adapter.safetensors (or language_model/), adapter.json,
metrics.jsonl. Stopped by SIGTERM, SIGUSR1 or Ctrl-C it keeps its state and ends with exit code 75; the same command goes
on. Several devices: torchrun --nproc-per-node N workflow/scripts/train_captioner.py ...
"""

from pathlib import Path

import _repo  # noqa: F401
import torch
from preftune.captioning.batch import tokenize_captions
from preftune.captioning.captioner import build_captioner
from preftune.captioning.data import load_captioned_images
from preftune.captioning.io import count_parameters, save_captioner
from preftune.captioning.objective import CaptionObjective
from preftune.models.devices import resolve_device, resolve_dtype
from preftune.models.language import load_language_model
from preftune.processes import leads
from preftune.settings.captioning import CaptioningSettings
from preftune.command_line import step_parser
from preftune.step import Step
from preftune.training import distributed
from preftune.training.checkpoints import Checkpoints
from preftune.training.loop import Place, fit


def main(argv: list[str] | None = None) -> None:
    """Build, train and save one captioner."""
    parser = step_parser(__doc__)
    parser.add_argument("--base", type=Path, required=True, help="language model folder")
    parser.add_argument("--features", type=Path, required=True, help="folder of the image features")
    parser.add_argument("--captions", type=Path, required=True, help="folder of the prepared captions")
    parser.add_argument("--output", type=Path, required=True, help="folder of the trained captioner")
    with Step.start(parser, argv, rule="train_captioner", inputs=("base", "features", "captions")) as step:
        train(step)


def train(step: Step) -> None:
    """Train and write the captioner."""
    arguments, settings = step.arguments, step.settings(CaptioningSettings)
    images = load_captioned_images(arguments.captions, arguments.features, "train")
    with distributed.join(resolve_device(arguments.device)) as device:
        dtype = resolve_dtype(settings.dtype, device)
        # Weights that train are fp32: an update of 1e-4 of a weight is lost in bfloat16.
        stored = torch.float32 if settings.adapter.kind == "full" else dtype
        language_model, tokenizer = load_language_model(arguments.base, device, stored)
        captioner = build_captioner(
            language_model,
            tokenizer,
            settings.adapter,
            settings.connector,
            images.width,
            settings.connector_dropout,
            arguments.seed,
        )
        captioner.train()
        captioner.prepare(settings.training)
        tokenized = [
            tokenize_captions(tokenizer, rows, settings.max_caption_tokens) for rows in images.captions
        ]
        objective = CaptionObjective(captioner, images, [ids for ids, _ in tokenized], arguments.seed)
        output = step.out()
        output.mkdir()
        place = Place(
            device,
            dtype,
            arguments.seed,
            output / "metrics.jsonl",
            "training",
            Checkpoints(*step.scratch(device.type, dtype)),
        )
        facts = fit([{"params": captioner.trainable()}], objective, settings.training, place, step.warn)
        if leads():
            save_captioner(captioner, tokenizer, settings, images, output)
    step.note(
        **facts,
        dtype=str(dtype).removeprefix("torch."),
        parameters=count_parameters(captioner),
        images=len(images),
        truncated=sum(cut for _, cut in tokenized),
        packed=captioner.reader.packs,
    )


if __name__ == "__main__":
    main()

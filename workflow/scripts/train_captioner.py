"""Train one captioning run: a connector and context adapters (or the whole language model) on captioned
images.

Input: a language model folder, precomputed image features, the prepared captions.
Output: a folder with connector.safetensors, adapter.safetensors (or language_model/), adapter.json,
metrics.jsonl.
"""

import random
import time
from pathlib import Path

import _repo  # noqa: F401
import torch
from torch import Tensor
from preftune.captioning.batch import collate, tokenize_captions
from preftune.captioning.captioner import Captioner, build_captioner
from preftune.captioning.data import CaptionedImages, load_captioned_images
from preftune.captioning.io import count_parameters, save_captioner
from preftune.files import read_jsonl
from preftune.models.language import load_language_model, resolve_device, resolve_dtype
from preftune.settings import CaptioningSettings
from preftune.step import Step, step_parser
from preftune.training.loop import LossOf, fit


def make_loss(
    captioner: Captioner, images: CaptionedImages, captions: list[list[list[int]]], seed: int
) -> LossOf:
    """Loss of a batch of images, each with one of its captions drawn anew every time (seeded)."""
    draw = random.Random(seed)
    device = next(captioner.parameters()).device

    def loss_of(indices: list[int]) -> tuple[Tensor, dict[str, float]]:
        chosen = [draw.choice(captions[index]) for index in indices]
        batch = collate(images.take(indices), chosen, captioner.eos, device)
        return captioner.loss(batch), {"tokens": float(batch.lengths.sum())}

    return loss_of


def count_tokens(metrics: Path) -> int:
    """Caption tokens (EOS included) that the loss has seen."""
    return int(sum(row["tokens"] for row in read_jsonl(metrics)))


def main(argv: list[str] | None = None) -> None:
    """Build, train and save one captioner."""
    parser = step_parser(__doc__)
    parser.add_argument("--base", type=Path, required=True, help="language model folder")
    parser.add_argument("--features", type=Path, required=True, help="folder of the image features")
    parser.add_argument("--captions", type=Path, required=True, help="folder of the prepared captions")
    parser.add_argument("--output", type=Path, required=True, help="folder of the trained captioner")
    with Step.start(parser, argv, rule="train_captioner", inputs=("base", "features", "captions")) as step:
        settings = step.settings(CaptioningSettings)
        arguments = step.arguments
        device = resolve_device(arguments.device)
        compute = resolve_dtype(settings.dtype, device)
        # Full fine-tuning keeps fp32 weights: an update of 1e-4 of a weight is lost in bfloat16.
        stored = torch.float32 if settings.adapter.kind == "full" else compute
        images = load_captioned_images(arguments.captions, arguments.features, "train")
        language_model, tokenizer = load_language_model(arguments.base, device, stored)
        captioner = build_captioner(
            language_model,
            tokenizer,
            settings.adapter,
            images.width,
            settings.connector_dropout,
            compute,
            arguments.seed,
        )
        tokenized = [
            tokenize_captions(tokenizer, rows, settings.max_caption_tokens) for rows in images.captions
        ]
        loss_of = make_loss(captioner.train(), images, [ids for ids, _ in tokenized], arguments.seed)
        step.out().mkdir()
        start = time.monotonic()
        done = fit(
            captioner.trainable(), loss_of, len(images), settings.training, arguments.seed,
            step.out() / "metrics.jsonl", "training",
        )  # fmt: skip
        seconds = time.monotonic() - start
        save_captioner(captioner, tokenizer, settings, images, step.out())
        step.note(
            **done, dtype=str(compute).removeprefix("torch."), parameters=count_parameters(captioner),
            tokens=count_tokens(step.out() / "metrics.jsonl"), images=len(images),
            training_seconds=round(seconds, 3), truncated=sum(cut for _, cut in tokenized),
            attention=language_model.config._attn_implementation,
        )  # fmt: skip


if __name__ == "__main__":
    main()

"""Captions of one trained captioner.

Input: the language model folder it was trained on, image features, prepared captions, the captioner's folder.
Output: JSON Lines with image_id, file, caption and the reference captions of each image.
"""

from pathlib import Path

import _repo  # noqa: F401
import torch
from preftune.captioning.batch import CAPTION
from preftune.captioning.data import load_captioned_images
from preftune.captioning.generate import generate
from preftune.captioning.io import check_features, load_captioner
from preftune.captioning.memory import decoding_bytes, weight_bytes
from preftune.files import write_jsonl
from preftune.models.devices import resolve_device, resolve_dtype
from preftune.progress import track
from preftune.settings.captioning import CaptionGenerationSettings
from preftune.command_line import step_parser
from preftune.step import Step
from preftune.training.costs import PeakMemory


def main(argv: list[str] | None = None) -> None:
    """Caption the images of a split, batch by batch."""
    parser = step_parser(__doc__)
    parser.add_argument("--base", type=Path, required=True, help="language model folder")
    parser.add_argument("--features", type=Path, required=True, help="folder of the image features")
    parser.add_argument("--captions", type=Path, required=True, help="folder of the prepared captions")
    parser.add_argument("--model", type=Path, required=True, help="folder of the trained captioner")
    parser.add_argument("--output", type=Path, required=True, help="JSON Lines of the captions")
    inputs = ("base", "features", "captions", "model")
    with Step.start(parser, argv, rule="generate_captions", inputs=inputs) as step:
        settings = step.settings(CaptionGenerationSettings)
        arguments = step.arguments
        device = resolve_device(arguments.device)
        dtype = resolve_dtype(settings.dtype, device)
        images = load_captioned_images(arguments.captions, arguments.features, "test", settings.limit)
        captioner, tokenizer, schema = load_captioner(arguments.base, arguments.model, device, dtype)
        check_features(schema, images, arguments.features)
        ids: list[list[int]] = []
        rows = settings.beams * min(settings.batch, len(images))
        predicted = decoding_bytes(captioner, rows, 1 + images.tokens + settings.max_new_tokens)
        with PeakMemory(device) as peak, captioner.merged(CAPTION):
            for start in track(range(0, len(images), settings.batch), "captions", unit="batch"):
                chosen = list(range(start, min(start + settings.batch, len(images))))
                features = torch.from_numpy(images.take(chosen)).to(device)
                ids += generate(captioner, features, settings.max_new_tokens, settings.beams)
        texts = [tokenizer.decode(row, skip_special_tokens=True).strip() for row in ids]
        write_jsonl(
            step.out(),
            [
                {"image_id": image, "file": file, "caption": text, "references": references}
                for image, file, text, references in zip(
                    images.image_ids, images.files, texts, images.captions, strict=True
                )
            ],
        )
        unfinished = sum(len(row) == settings.max_new_tokens for row in ids)
        step.note(
            images=len(images),
            tokens=sum(map(len, ids)),
            unfinished=unfinished,
            dtype=str(dtype)[6:],
            memory={
                "predicted": {"weights": weight_bytes(captioner), "decoding": predicted},
                "decoding": peak.facts,
            },
        )


if __name__ == "__main__":
    main()

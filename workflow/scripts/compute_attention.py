"""Attention of caption tokens to the image grid in one layer, for a few images of the test split.

Input: the language model folder it was trained on, image features, prepared captions, the captioner's folder.
Output: an .npz with maps [images, longest, grid, grid] (summed over heads, 0 after the caption's end),
lengths [images], image_ids [images], files [images], tokens [images, longest] (text of each caption token),
layer.
"""

from pathlib import Path

import _repo  # noqa: F401
import numpy as np
import torch
from preftune.captioning.attention import caption_attention
from preftune.captioning.batch import tokenize_captions
from preftune.captioning.data import load_captioned_images
from preftune.captioning.io import check_features, load_captioner
from preftune.models.devices import resolve_device, resolve_dtype
from preftune.progress import track
from preftune.settings.captioning import AttentionSettings
from preftune.command_line import step_parser
from preftune.step import Step


def stack_maps(maps: list[np.ndarray]) -> np.ndarray:
    """Maps [tokens, grid, grid] of each image, padded with zeros to [images, longest, grid, grid]."""
    longest = max(len(one) for one in maps)
    return np.stack([np.pad(one, ((0, longest - len(one)), (0, 0), (0, 0))) for one in maps])


def main(argv: list[str] | None = None) -> None:
    """Read each image with its first reference caption and keep one layer's attention."""
    parser = step_parser(__doc__)
    parser.add_argument("--base", type=Path, required=True, help="language model folder")
    parser.add_argument("--features", type=Path, required=True, help="folder of the image features")
    parser.add_argument("--captions", type=Path, required=True, help="folder of the prepared captions")
    parser.add_argument("--model", type=Path, required=True, help="folder of the trained captioner")
    parser.add_argument("--output", type=Path, required=True, help=".npz of the maps")
    inputs = ("base", "features", "captions", "model")
    with Step.start(parser, argv, rule="compute_attention", inputs=inputs) as step:
        settings = step.settings(AttentionSettings)
        arguments = step.arguments
        device = resolve_device(arguments.device)
        dtype = resolve_dtype(settings.dtype, device)
        images = load_captioned_images(arguments.captions, arguments.features, "test", settings.images)
        captioner, tokenizer, schema = load_captioner(arguments.base, arguments.model, device, dtype)
        check_features(schema, images, arguments.features)
        sentences = [captions[0] for captions in images.captions]
        ids, truncated = tokenize_captions(tokenizer, sentences, schema["max_caption_tokens"])
        features = torch.from_numpy(images.take(list(range(len(images))))).to(device)
        maps = [
            caption_attention(captioner, features[row], caption, settings.layer).cpu().numpy()
            for row, caption in enumerate(track(ids, "attention", unit="image"))
        ]
        longest = max(map(len, ids))
        words = [[tokenizer.decode([token]) for token in row] + [""] * (longest - len(row)) for row in ids]
        with step.out().open("wb") as stream:
            np.savez(
                stream, maps=stack_maps(maps), lengths=np.array([len(row) for row in ids]),
                layer=settings.layer, image_ids=np.array(images.image_ids), files=np.array(images.files),
                tokens=np.array(words),
            )  # fmt: skip
        step.note(images=len(images), truncated=truncated, layer=settings.layer, attention="eager")


if __name__ == "__main__":
    main()

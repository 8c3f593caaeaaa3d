"""`preftune caption`: captions of image files by a trained captioner."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from preftune.captioning.batch import CAPTION
from preftune.captioning.captioner import Captioner
from preftune.captioning.generate import generate
from preftune.captioning.io import check_shape, load_captioner
from preftune.data.pictures import open_picture
from preftune.errors import PreftuneError
from preftune.files import read_json, write_jsonl
from preftune.models.devices import resolve_device, resolve_dtype
from preftune.models.encoders.base import ImageEncoder
from preftune.models.encoders.registry import load_encoder
from preftune.progress import track
from preftune.provenance.digest import ROOT

BATCH = 16


@dataclass(frozen=True)
class CaptionOptions:
    """How captions are searched, and where the captioner's parts are if not where its record says."""

    beams: int
    max_new_tokens: int
    base: Path | None = None
    encoder: Path | None = None


def caption_images(
    model: Path, images: Sequence[Path], options: CaptionOptions, output: Path | None = None
) -> list[str]:
    """Caption `images` with the captioner of the folder `model`; `output`: JSON Lines of file and caption.

    Raises:
        PreftuneError: an image does not decode, or the captioner's language model or encoder is not found or another one.
    """
    pictures = [open_picture(path).image for path in images]  # a bad file is named before anything is loaded
    device = resolve_device("auto")
    base = options.base or _recorded(model, "base", "language model")
    encoder = load_encoder(options.encoder or _encoder_of(model), device)
    captioner, tokenizer, schema = load_captioner(base, model, device, resolve_dtype("auto", device))
    check_shape(schema, encoder.grid[0] * encoder.grid[1], encoder.width, f"the encoder {encoder.name}")
    captions: list[str] = []
    with captioner.merged(CAPTION):
        for start in track(range(0, len(pictures), BATCH), "captions", unit="batch"):
            inputs = torch.stack([encoder.preprocess(one) for one in pictures[start : start + BATCH]])
            ids = _caption(captioner, encoder, inputs.to(device), options)
            captions += [str(tokenizer.decode(row, skip_special_tokens=True)).strip() for row in ids]
    if output is not None:
        rows = zip(images, captions, strict=True)
        write_jsonl(output, [{"file": str(path), "caption": caption} for path, caption in rows])
    return captions


def _caption(
    captioner: Captioner, encoder: ImageEncoder, inputs: torch.Tensor, options: CaptionOptions
) -> list[list[int]]:
    # as stored features are rounded, so that a caption is that of the workflow
    features = encoder.encode(inputs).half().float()
    return generate(captioner, features, options.max_new_tokens, options.beams)


def _recorded(model: Path, name: str, what: str) -> Path:
    """The folder that the captioner's record names."""
    record = read_json(model / "run.json")
    try:
        path = ROOT / record["inputs"][name][0]["path"]
    except (KeyError, IndexError, TypeError) as error:
        raise PreftuneError(f"{model / 'run.json'} names no {what}: give its folder.") from error
    return Path(path)


def _encoder_of(model: Path) -> Path:
    """The encoder that the record of the features names."""
    folder = _recorded(_recorded(model, "features", "image features"), "encoder", "image encoder")
    if not folder.is_dir():
        raise PreftuneError(f"The encoder {folder} does not exist: give its folder with --encoder.")
    return folder

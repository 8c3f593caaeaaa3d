"""Encode every view of every listed image, and a blank one, once with a frozen encoder.

Input: an encoder folder, the folder of the raw images, the folder with images.parquet.
Output: a folder with features.npy (float16, [views of all images + 1, tokens, width]), index.parquet and encoder.json.
"""

from pathlib import Path

import _repo  # noqa: F401
import pandas as pd
from preftune.captioning.features import list_images, store_features
from preftune.models.encoders.registry import load_encoder
from preftune.models.devices import resolve_device
from preftune.settings.captioning import FeatureSettings
from preftune.command_line import step_parser
from preftune.step import Step


def main(argv: list[str] | None = None) -> None:
    """Load the encoder and encode all images."""
    parser = step_parser(__doc__)
    parser.add_argument("--encoder", type=Path, required=True, help="encoder folder")
    parser.add_argument(
        "--raw", type=Path, required=True, help="folder that the files of images.parquet are relative to"
    )
    parser.add_argument("--images", type=Path, required=True, help="folder with images.parquet")
    parser.add_argument("--output", type=Path, required=True, help="folder of the features")
    with Step.start(parser, argv, rule="compute_features", inputs=("encoder", "raw", "images")) as step:
        settings = step.settings(FeatureSettings)
        arguments = step.arguments
        device = resolve_device(arguments.device)
        encoder = load_encoder(arguments.encoder, device)
        images = pd.read_parquet(arguments.images / "images.parquet")
        source = list_images(encoder, images, arguments.raw, settings, arguments.seed, device)
        shape = store_features(source, step.out())
        step.note(shape=list(shape), dtype="float16", encoder=encoder.name)


if __name__ == "__main__":
    main()

"""Caption perplexity of one trained captioner, with each image and with a blank (grey) one in its place.

Input: the language model folder it was trained on, image features, prepared captions, the captioner's folder.
Output: perplexity.json (corpus figures) and perplexity.parquet (one row per reference caption).
"""

from pathlib import Path

import _repo  # noqa: F401
import pandas as pd
from preftune.captioning.data import load_captioned_images
from preftune.captioning.io import check_features, load_captioner
from preftune.captioning.perplexity import score_captions, summarize_perplexity
from preftune.files import write_json
from preftune.models.devices import resolve_device, resolve_dtype
from preftune.settings.captioning import CaptionEvaluationSettings
from preftune.command_line import step_parser
from preftune.step import Step


def main(argv: list[str] | None = None) -> None:
    """Score every reference caption of a split and sum up."""
    parser = step_parser(__doc__)
    parser.add_argument("--base", type=Path, required=True, help="language model folder")
    parser.add_argument("--features", type=Path, required=True, help="folder of the image features")
    parser.add_argument("--captions", type=Path, required=True, help="folder of the prepared captions")
    parser.add_argument("--model", type=Path, required=True, help="folder of the trained captioner")
    parser.add_argument("--output", type=Path, required=True, help="JSON of the corpus figures")
    parser.add_argument(
        "--items", type=Path, required=True, help="parquet table of the captions' log-likelihoods"
    )
    inputs = ("base", "features", "captions", "model")
    with Step.start(
        parser, argv, rule="evaluate_perplexity", inputs=inputs, outputs=("output", "items")
    ) as step:
        settings = step.settings(CaptionEvaluationSettings)
        arguments = step.arguments
        device = resolve_device(arguments.device)
        dtype = resolve_dtype(settings.dtype, device)
        images = load_captioned_images(arguments.captions, arguments.features, settings.split, settings.limit)
        captioner, tokenizer, schema = load_captioner(arguments.base, arguments.model, device, dtype)
        check_features(schema, images, arguments.features)
        rows, truncated = score_captions(
            captioner, tokenizer, images, schema["max_caption_tokens"], settings.tokens_per_pass
        )
        pd.DataFrame(rows).to_parquet(step.out("items"), index=False)
        parameters = schema["parameters"]
        write_json(
            step.out(),
            {
                "split": settings.split,
                "blank": "features of a grey image",
                "trainable_parameters": parameters["trainable"],
                "lm_trainable_parameters": parameters["language_model"],
                **summarize_perplexity(rows),
            },
        )
        step.note(captions=len(rows), truncated=truncated, dtype=str(dtype)[6:])


if __name__ == "__main__":
    main()

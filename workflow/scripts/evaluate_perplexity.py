"""Perplexity of one trained captioner: of test and validation captions, with each image and with a blank (grey) one in its
place, and of plain text.

Input: the language model folder it was trained on, image features, prepared captions, the captioner's folder, a prepared
data set of passages. Output: perplexity.json (test), validation.json and text.json, each with a parquet table (one row per
reference caption or passage).
"""

from pathlib import Path
from typing import Any

import _repo  # noqa: F401
import pandas as pd
from transformers import PreTrainedTokenizerBase

from preftune.captioning.captioner import Captioner
from preftune.captioning.data import load_captioned_images
from preftune.captioning.io import check_features, load_captioner
from preftune.captioning.perplexity import score_captions, summarize_perplexity
from preftune.captioning.texts import score_passages, summarize_passages
from preftune.data.passages import read_passages
from preftune.files import write_json
from preftune.models.devices import resolve_device, resolve_dtype
from preftune.settings.captioning import CaptionScoreSettings
from preftune.command_line import step_parser
from preftune.step import Step

PARTS = {"output": "items", "validation": "validation_items", "text": "text_items"}
SPLITS = {"output": "test", "validation": "validation"}


def main(argv: list[str] | None = None) -> None:
    """Score every reference caption of two splits and some plain text, and sum up."""
    parser = step_parser(__doc__)
    parser.add_argument("--base", type=Path, required=True, help="language model folder")
    parser.add_argument("--features", type=Path, required=True, help="folder of the image features")
    parser.add_argument("--captions", type=Path, required=True, help="folder of the prepared captions")
    parser.add_argument("--model", type=Path, required=True, help="folder of the trained captioner")
    parser.add_argument("--texts", type=Path, required=True, help="folder of the prepared passages")
    parser.add_argument("--output", type=Path, required=True, help="JSON of the test captions' figures")
    parser.add_argument("--validation", type=Path, required=True, help="JSON of the validation captions'")
    parser.add_argument("--text", type=Path, required=True, help="JSON of the plain text's")
    for figures, items in PARTS.items():
        parser.add_argument(
            f"--{items.replace('_', '-')}", type=Path, required=True, help=f"parquet table of --{figures}'s items"
        )
    inputs, outputs = ("base", "features", "captions", "model", "texts"), (*PARTS, *PARTS.values())
    with Step.start(parser, argv, rule="evaluate_perplexity", inputs=inputs, outputs=outputs) as step:
        evaluate(step)


def evaluate(step: Step) -> None:
    """Load the captioner and score it."""
    settings, arguments = step.settings(CaptionScoreSettings), step.arguments
    device = resolve_device(arguments.device)
    dtype = resolve_dtype(settings.dtype, device)
    captioner, tokenizer, schema = load_captioner(arguments.base, arguments.model, device, dtype)
    text = settings.text
    passages = read_passages(
        tokenizer, captioner.reader.context, text.dataset, text.split, [arguments.texts], text.passages, text.tokens
    )
    for name, split in SPLITS.items():
        score_split(step, captioner, tokenizer, schema, name, split)
    rows = score_passages(captioner, passages, settings.tokens_per_pass)
    write(step, "text", rows, {"split": text.split, "dataset": text.dataset} | summarize_passages(rows))
    step.note(dtype=str(dtype)[6:])


def score_split(
    step: Step,
    captioner: Captioner,
    tokenizer: PreTrainedTokenizerBase,
    schema: dict[str, Any],
    name: str,
    split: str,
) -> None:
    """Score the captions of one split."""
    settings, arguments = step.settings(CaptionScoreSettings), step.arguments
    images = load_captioned_images(arguments.captions, arguments.features, split, settings.limit)
    check_features(schema, images, arguments.features)
    rows, truncated = score_captions(
        captioner, tokenizer, images, schema["max_caption_tokens"], settings.tokens_per_pass
    )
    parameters = schema["parameters"]
    facts = {
        "split": split,
        "blank": "features of a grey image",
        "trainable_parameters": parameters["trainable"],
        "lm_trainable_parameters": parameters["language_model"],
    }
    write(step, name, rows, facts | summarize_perplexity(rows))
    step.note(**{split: {"captions": len(rows), "truncated": truncated}})


def write(step: Step, name: str, rows: list[dict[str, Any]], facts: dict[str, Any]) -> None:
    """The figures and the table of their items."""
    pd.DataFrame(rows).to_parquet(step.out(PARTS[name]), index=False)
    write_json(step.out(name), facts)


if __name__ == "__main__":
    main()

"""Evaluate one trained captioner: perplexity of test and validation captions, with each image and with a blank (grey) one in
its place; perplexity of plain text; captions of the test images.

Input: the language model folder it was trained on, image features, prepared captions, the captioner's folder, a prepared
data set of passages. Output: perplexity.json (test), validation.json and text.json, each with a parquet table (one row per
reference caption or passage), and JSON Lines of captions (image_id, file, caption, references).
"""

from pathlib import Path
from typing import Any

import _repo  # noqa: F401
import pandas as pd
import torch
from preftune.captioning.batch import CAPTION
from preftune.captioning.captioner import Captioner
from preftune.captioning.data import CaptionedImages, load_captioned_images
from preftune.captioning.generate import generate
from preftune.captioning.io import check_features, load_captioner, recorded_costs
from preftune.captioning.memory import decoding_bytes, weight_bytes
from preftune.captioning.perplexity import score_captions, summarize_perplexity
from preftune.captioning.texts import score_passages, summarize_passages
from preftune.command_line import step_parser
from preftune.data.passages import read_passages
from preftune.files import write_json, write_jsonl
from preftune.models.devices import computing_in, resolve_device, resolve_dtype
from preftune.progress import track
from preftune.settings.captioning import CaptionEvaluationSettings
from preftune.step import Step
from preftune.training.costs import PeakMemory
from transformers import PreTrainedTokenizerBase

ITEMS = {"output": "items", "validation": "validation_items", "text": "text_items"}
SPLITS = {"output": "test", "validation": "validation"}


def main(argv: list[str] | None = None) -> None:
    """Score every reference caption of two splits and some plain text, and caption the test images."""
    parser = step_parser(__doc__)
    parser.add_argument("--base", type=Path, required=True, help="language model folder")
    parser.add_argument("--features", type=Path, required=True, help="folder of the image features")
    parser.add_argument("--captions", type=Path, required=True, help="folder of the prepared captions")
    parser.add_argument("--model", type=Path, required=True, help="folder of the trained captioner")
    parser.add_argument("--texts", type=Path, required=True, help="folder of the prepared passages")
    parser.add_argument("--output", type=Path, required=True, help="JSON of the test captions' figures")
    parser.add_argument("--validation", type=Path, required=True, help="JSON of the validation captions'")
    parser.add_argument("--text", type=Path, required=True, help="JSON of the plain text's")
    for figures, items in ITEMS.items():
        option = f"--{items.replace('_', '-')}"
        parser.add_argument(option, type=Path, required=True, help=f"parquet table of --{figures}'s items")
    parser.add_argument("--generated", type=Path, required=True, help="JSON Lines of the model's captions")
    inputs = ("base", "features", "captions", "model", "texts")
    outputs = (*ITEMS, *ITEMS.values(), "generated")
    with Step.start(parser, argv, rule="evaluate_captioner", inputs=inputs, outputs=outputs) as step:
        evaluate(step)


def evaluate(step: Step) -> None:
    """Load the captioner and score it; everything is read before anything is computed."""
    settings, arguments = step.settings(CaptionEvaluationSettings), step.arguments
    device = resolve_device(arguments.device)
    dtype = resolve_dtype(settings.dtype, device)
    captioner, tokenizer, schema = load_captioner(arguments.base, arguments.model, device, dtype)
    text = settings.text
    passages = read_passages(
        tokenizer,
        captioner.reader.context,
        text.dataset,
        text.split,
        [arguments.texts],
        text.passages,
        text.tokens,
    )
    images = {
        name: load_captioned_images(arguments.captions, arguments.features, split, settings.limit)
        for name, split in SPLITS.items()
    }
    check_features(schema, images["output"], arguments.features)
    with computing_in(device, dtype):
        for name, chosen in images.items():
            score_split(step, captioner, tokenizer, schema, name, chosen)
        rows = score_passages(captioner, passages, settings.tokens_per_pass)
        caption_images(step, captioner, tokenizer, images["output"], device)
    write(step, "text", rows, {"split": text.split, "dataset": text.dataset} | summarize_passages(rows))
    step.note(dtype=str(dtype)[6:])


def score_split(
    step: Step,
    captioner: Captioner,
    tokenizer: PreTrainedTokenizerBase,
    schema: dict[str, Any],
    name: str,
    images: CaptionedImages,
) -> None:
    """Score the captions of one split."""
    settings, parameters = step.settings(CaptionEvaluationSettings), schema["parameters"]
    rows, truncated = score_captions(
        captioner, tokenizer, images, schema["max_caption_tokens"], settings.tokens_per_pass
    )
    facts = {
        "split": SPLITS[name],
        "blank": "features of a grey image",
        **recorded_costs(step.arguments.model),
        "trainable_parameters": parameters["trainable"],
        "lm_trainable_parameters": parameters["language_model"],
    }
    write(step, name, rows, facts | summarize_perplexity(rows))
    step.note(**{SPLITS[name]: {"captions": len(rows), "truncated": truncated}})


def write(step: Step, name: str, rows: list[dict[str, Any]], facts: dict[str, Any]) -> None:
    """The figures and the table of their items."""
    pd.DataFrame(rows).to_parquet(step.out(ITEMS[name]), index=False)
    write_json(step.out(name), facts)


def caption_images(
    step: Step,
    captioner: Captioner,
    tokenizer: PreTrainedTokenizerBase,
    images: CaptionedImages,
    device: torch.device,
) -> None:
    """Caption the images, batch by batch."""
    settings, ids = step.settings(CaptionEvaluationSettings), []
    rows = settings.beams * min(settings.batch, len(images))
    predicted = decoding_bytes(captioner, rows, 1 + images.tokens + settings.max_new_tokens)
    with PeakMemory(device) as peak, captioner.merged(CAPTION):
        for start in track(range(0, len(images), settings.batch), "captions", unit="batch"):
            chosen = list(range(start, min(start + settings.batch, len(images))))
            features = torch.from_numpy(images.take(chosen)).to(device)
            ids += generate(captioner, features, settings.max_new_tokens, settings.beams)
    texts = [str(tokenizer.decode(row, skip_special_tokens=True)).strip() for row in ids]
    told = zip(images.image_ids, images.files, texts, images.captions, strict=True)
    names = ("image_id", "file", "caption", "references")
    write_jsonl(step.out("generated"), [dict(zip(names, row, strict=True)) for row in told])
    memory = {
        "predicted": {"weights": weight_bytes(captioner), "decoding": predicted},
        "decoding": peak.facts,
    }
    unfinished = sum(len(row) == settings.max_new_tokens for row in ids)
    step.note(images=len(images), tokens=sum(map(len, ids)), unfinished=unfinished, memory=memory)


if __name__ == "__main__":
    main()

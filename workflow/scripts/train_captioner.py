"""Train one captioning run: a connector and context adapters (or the whole language model) on captioned
images.

Input: a language model folder, precomputed image features, the prepared captions.
Output: a folder with connector.safetensors, a PEFT adapter a group (or language_model/), adapter.json and
metrics.jsonl. Stopped by SIGTERM, SIGUSR1 or Ctrl-C it keeps its state and ends with exit code 75; the same command goes
on. Several devices: torchrun --nproc-per-node N workflow/scripts/train_captioner.py ...
"""

from pathlib import Path

import _repo  # noqa: F401
import torch
from transformers import PreTrainedTokenizerBase
from preftune.captioning.base import check_trained
from preftune.captioning.batch import tokenize_captions
from preftune.captioning.captioner import Captioner, build_captioner
from preftune.captioning.costs import file_bytes, measure_pass
from preftune.captioning.data import load_captioned_images
from preftune.captioning.io import count_parameters, save_captioner
from preftune.captioning.objective import CaptionObjective
from preftune.captioning.perplexity import caption_perplexity
from preftune.models.devices import computing_in, resolve_device, resolve_dtype
from preftune.models.language import load_language_model
from preftune.processes import leads
from preftune.settings.captioning import CaptioningSettings
from preftune.command_line import step_parser
from preftune.step import Step
from preftune.training import distributed
from preftune.training.checkpoints import Checkpoints
from preftune.training.costs import PeakMemory
from preftune.training.energy import EnergyMeter
from preftune.training.loop import Place, fit
from preftune.training.validation import Validation


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
    images = images.part(settings.train_fraction, arguments.seed)
    with distributed.join(resolve_device(arguments.device)) as device:
        dtype = resolve_dtype(settings.dtype, device)
        # Weights that train are fp32: an update of 1e-4 of a weight is lost in bfloat16.
        stored = torch.float32 if settings.adapter.kind == "full" else dtype
        language_model, tokenizer = load_language_model(arguments.base, device, stored)
        step.note(base_perplexity=check_trained(language_model, tokenizer))
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
        objective = CaptionObjective(
            captioner, images, [ids for ids, _ in tokenized], arguments.seed, settings.views
        )
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
        validation = watch(step, captioner, tokenizer, place)
        parameters = [{"params": captioner.trainable()}]
        costs = measure_pass(captioner, objective, settings.training, place, step.warn)
        with EnergyMeter(device) as energy, PeakMemory(device) as peak:
            facts = fit(parameters, objective, settings.training, place, step.warn, validation)
        if leads():
            save_captioner(captioner, tokenizer, settings, images, output)
            costs["files"] = file_bytes(captioner, output)
    costs["memory"]["training"] = peak.facts
    # A meter sees its own process's device, since its own start.
    whole = len(facts["attempts"]) == 1 and facts["processes"] == 1
    step.note(
        **facts,
        **costs,
        energy=energy.facts
        if whole
        else {"watt_hours": None, "method": "unavailable: several attempts or processes"},
        dtype=str(dtype).removeprefix("torch."),
        parameters=count_parameters(captioner),
        images=len(images),
        truncated=sum(cut for _, cut in tokenized),
        packed=captioner.reader.packs,
    )


def watch(
    step: Step, captioner: Captioner, tokenizer: PreTrainedTokenizerBase, place: Place
) -> Validation | None:
    """The validation perplexity by which the best weights are chosen, where the settings ask for it."""
    arguments, settings = step.arguments, step.settings(CaptioningSettings)
    if settings.validate_every is None:
        return None
    images = load_captioned_images(
        arguments.captions, arguments.features, "validation", settings.validation_images
    )

    def measure() -> float:
        with computing_in(place.device, place.compute):
            return caption_perplexity(
                captioner, tokenizer, images, settings.max_caption_tokens, settings.training.tokens_per_pass
            )

    return Validation(settings.validate_every, "validation_perplexity", measure)


if __name__ == "__main__":
    main()

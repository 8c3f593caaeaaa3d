"""Train one run of the multi-task experiment, or join what its parents learnt apart.

Input: a language model folder; of image features, prepared captions and prepared questions those that its tasks read; the
model folders of its parents, whose adapters it joins and goes on with. Output: a folder with a folder per group,
connector.safetensors, adapter.json and, where it was trained, metrics.jsonl. Stopped by SIGTERM, SIGUSR1 or Ctrl-C it keeps
its state and ends with exit code 75; the same command goes on. Several devices: torchrun, as for train_captioner.py.
"""

from pathlib import Path
from typing import Any

import _repo  # noqa: F401
import torch
from transformers import PreTrainedTokenizerBase
from preftune.captioning.base import check_trained
from preftune.captioning.batch import tokenize_captions
from preftune.captioning.captioner import Captioner, build_captioner
from preftune.captioning.data import load_captioned_images
from preftune.captioning.io import CaptionerFacts, count_parameters, save_trained
from preftune.captioning.join import join_captioners, train_again
from preftune.captioning.multitask import CaptionPart, MultitaskObjective, Part, QuestionPart
from preftune.captioning.questions import (
    Question,
    load_image_questions,
    load_text_questions,
    tokenize_texts,
)
from preftune.captioning.store import FeatureSource, open_features
from preftune.errors import PreftuneError
from preftune.models.devices import resolve_device, resolve_dtype
from preftune.models.language import load_language_model
from preftune.processes import leads
from preftune.settings.multitask import MultitaskSettings
from preftune.command_line import step_parser
from preftune.step import Step
from preftune.training import distributed
from preftune.training.checkpoints import Checkpoints
from preftune.training.loop import Place, fit

INPUTS = ("base", "features", "captions", "questions", "parents")


def main(argv: list[str] | None = None) -> None:
    """Build or join, train and save one model."""
    parser = step_parser(__doc__)
    parser.add_argument("--base", type=Path, required=True, help="language model folder")
    parser.add_argument("--features", type=Path, help="folder of the image features")
    parser.add_argument("--captions", type=Path, help="folder of the prepared captions")
    parser.add_argument("--questions", type=Path, help="folder of the prepared questions")
    parser.add_argument("--parents", type=Path, nargs="*", default=[], help="model folders to join")
    parser.add_argument("--output", type=Path, required=True, help="folder of the trained model")
    with Step.start(parser, argv, rule="train_multitask", inputs=INPUTS) as step:
        train(step)


def train(step: Step) -> None:
    """Train and write the model."""
    arguments, settings = step.arguments, step.settings(MultitaskSettings)
    features = open_features(needed(step, "features")) if settings.reads_images else None
    facts: dict[str, Any] = {}
    with distributed.join(resolve_device(arguments.device)) as device:
        dtype = resolve_dtype(settings.dtype, device)
        captioner, tokenizer, model = build(step, features, device, dtype)
        output = step.out()
        output.mkdir()
        if settings.tasks:
            parts = [read_part(step, task, tokenizer, features) for task in settings.tasks]
            captioner.train()
            captioner.prepare(settings.training)
            objective = MultitaskObjective(captioner, parts, features, arguments.seed)
            checkpoints = Checkpoints(*step.scratch(device.type, dtype))
            place = Place(device, dtype, arguments.seed, output / "metrics.jsonl", "training", checkpoints)
            facts = fit([{"params": captioner.trainable()}], objective, settings.training, place, step.warn)
            facts["task_examples"] = dict(zip(settings.tasks, map(len, parts), strict=True))
        if leads():
            save_trained(captioner, tokenizer, model, output)
    step.note(**facts, dtype=str(dtype).removeprefix("torch."), parameters=count_parameters(captioner))


def build(
    step: Step, features: FeatureSource | None, device: torch.device, dtype: torch.dtype
) -> tuple[Captioner, PreTrainedTokenizerBase, CaptionerFacts]:
    """The model before training: a new one, or the parents joined; its connector only where a task has images."""
    arguments, settings = step.arguments, step.settings(MultitaskSettings)
    if (settings.adapter is None) != bool(arguments.parents):
        raise PreftuneError("--parents: give parents to a run whose adapter is null, and to no other.")
    if settings.adapter is None:
        captioner, tokenizer, model = join_captioners(arguments.base, arguments.parents, device, dtype)
        train_again(captioner, settings.connector_dropout)
        return captioner, tokenizer, model
    tokens, width = (0, 0) if features is None else features.shape
    kind = "none" if features is None else settings.connector
    language_model, tokenizer = load_language_model(arguments.base, device, dtype)
    step.note(base_perplexity=check_trained(language_model, tokenizer))
    dropout, seed = settings.connector_dropout, arguments.seed
    captioner = build_captioner(language_model, tokenizer, settings.adapter, kind, width, dropout, seed)
    return (
        captioner,
        tokenizer,
        CaptionerFacts(settings.adapter, kind, tokens, width, settings.max_caption_tokens),
    )


def read_part(
    step: Step, task: str, tokenizer: PreTrainedTokenizerBase, features: FeatureSource | None
) -> Part:
    """The training examples of one task."""
    settings = step.settings(MultitaskSettings)
    if task == "captions":
        images = load_captioned_images(needed(step, "captions"), step.arguments.features, "train")
        rows = [
            tokenize_captions(tokenizer, texts, settings.max_caption_tokens)[0] for texts in images.captions
        ]
        return CaptionPart(images, rows)
    folder = needed(step, "questions")
    if task == "text-questions":
        return question_part(load_text_questions(folder, "train"), tokenizer)
    assert features is not None  # the other tasks read images
    questions, without = load_image_questions(folder, "train", features)
    step.note(questions_without_features=without)
    return question_part(questions, tokenizer)


def question_part(questions: list[Question], tokenizer: PreTrainedTokenizerBase) -> QuestionPart:
    """Questions with their prompts and answers as token ids."""
    answers = [tokenize_texts(tokenizer, question.answers) for question in questions]
    return QuestionPart(questions, tokenize_texts(tokenizer, [one.prompt for one in questions]), answers)


def needed(step: Step, name: str) -> Path:
    """A folder that the tasks read."""
    path: Path | None = getattr(step.arguments, name)
    if path is None:
        tasks = ", ".join(step.settings(MultitaskSettings).tasks)
        raise PreftuneError(f"--{name} is missing: the tasks {tasks} read it.")
    return path


if __name__ == "__main__":
    main()

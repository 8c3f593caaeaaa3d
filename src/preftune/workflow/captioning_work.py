"""What each step of the Context-PEFT paper computes and holds."""

from dataclasses import replace

from preftune.workflow.jobs import Job
from preftune.workflow.sizes import (
    CAPTION_TOKENS,
    CAPTIONS,
    EMBEDDED_TOKENS,
    QUESTION_TOKENS,
    VISUAL_QUESTION_TOKENS,
    Sizes,
)
from preftune.workflow.work import (
    DECODING_SECONDS,
    ENCODER_OPERATIONS,
    PICTURE_SECONDS,
    ROW_BYTES,
    ROW_SECONDS,
    SCORE_BYTES,
    TEXT_BYTES,
    TOKEN_BYTES,
    Trained,
    Work,
    connector_parameters,
    context_adapter,
    model_work,
    optimise,
)

FEATURE_BYTES = 2
"""A feature on the disk, in float16."""
PICTURE_BYTES = 200
"""A picture in the tables of what was prepared, beside its captions."""


def _example_tokens(sizes: Sizes, job: Job, task: str) -> int:
    """Tokens of an example of a multi-task run."""
    if task == "text-questions":
        return QUESTION_TOKENS["squad-v2"] if sizes.config.scenes is None else EMBEDDED_TOKENS
    return (
        sizes.positions(job) + {"captions": CAPTION_TOKENS, "visual-questions": VISUAL_QUESTION_TOKENS}[task]
    )


def _scored(sizes: Sizes, job: Job, images: float, times: int = 1) -> float:
    """Tokens of images with all their captions, these as often as they are read."""
    return images * (sizes.positions(job) + times * CAPTIONS * CAPTION_TOKENS)


def prepare_captions(sizes: Sizes, job: Job) -> Work:
    """Every picture is opened."""
    images = sizes.all_images
    disk = images * (PICTURE_BYTES + CAPTIONS * CAPTION_TOKENS * TEXT_BYTES)
    return Work(seconds=PICTURE_SECONDS * images, bytes=CAPTIONS * ROW_BYTES * images, disk=disk)


def prepare_questions(sizes: Sizes, job: Job) -> Work:
    """Every question is read, and every picture of theirs opened."""
    rows = sizes.raw_rows([sizes.plan.question_dataset])
    seconds = ROW_SECONDS * rows + PICTURE_SECONDS * sizes.all_images
    return Work(seconds=seconds, bytes=ROW_BYTES * rows, disk=VISUAL_QUESTION_TOKENS * TEXT_BYTES * rows)


def compute_features(sizes: Sizes, job: Job) -> Work:
    """All views of the training images, the plain one of the others; the first parent fetched the encoder."""
    n = sizes.parameters(job.parents[0].settings["name"])
    views = sizes.all_images + (job.settings["views"] - 1) * sizes.images("train")
    disk = FEATURE_BYTES * views * sizes.positions(job) * sizes.width(job)
    return model_work(n, ENCODER_OPERATIONS * n * views, seconds=PICTURE_SECONDS * views, disk=disk)


def train_captioner(sizes: Sizes, job: Job) -> Work:
    """A caption an example, and the validation images as often as they are looked at."""
    n, settings = sizes.captioner, job.settings
    training, every = settings["training"], settings["validate_every"]
    shown = min(sizes.images("validation"), settings["validation_images"] or sizes.images("validation"))
    read = training["steps"] // every * _scored(sizes, job, shown) if every else 0
    held = 2 * TOKEN_BYTES * CAPTIONS * CAPTION_TOKENS * sizes.images("train")
    trained, more = context_adapter(n, settings["adapter"]), connector_parameters(n, sizes.width(job))
    length = _example_tokens(sizes, job, "captions")
    return optimise(n, training, length, trained, held=held, read=read, more=more)


def evaluate_captioner(sizes: Sizes, job: Job) -> Work:
    """Captions of two splits, after their image and after a blank one; passages; captions written by beam search."""
    n, settings, shown = sizes.captioner, job.settings, sizes.evaluated_images("test")
    scored = shown + sizes.evaluated_images("validation")
    tokens = _scored(sizes, job, scored, times=2)
    text = settings["text"]
    tokens += text["passages"] * sizes.passage_tokens(text["dataset"], text["tokens"])
    tokens += shown * settings["beams"] * (sizes.positions(job) + settings["max_new_tokens"])
    steps = -(-shown // settings["batch"]) * settings["max_new_tokens"]
    disk = SCORE_BYTES * (CAPTIONS * scored + shown + text["passages"])
    return model_work(n, 2 * n * tokens, seconds=DECODING_SECONDS * steps, disk=disk)


def evaluate_captions(sizes: Sizes, job: Job) -> Work:
    """METEOR and SPICE run in Java, with memory of their own."""
    spice, images = job.settings["spice"] is not None, sizes.evaluated_images("test")
    seconds = 30 + images * 0.2 if spice else 5 + images * 0.01
    return Work(seconds=seconds, bytes=9e9 if spice else 1.5e9, disk=SCORE_BYTES * images)


def compute_attention(sizes: Sizes, job: Job) -> Work:
    return model_work(sizes.captioner, 2 * sizes.captioner * _scored(sizes, job, job.settings["images"]))


def train_multitask(sizes: Sizes, job: Job) -> Work:
    """Its tasks are drawn evenly; a run without tasks only joins its parents."""
    n, tasks, trained = sizes.captioner, job.settings["tasks"], _adapter(sizes.captioner, job)
    connector = connector_parameters(n, sizes.width(job))
    if not tasks:
        return model_work(n, disk=trained.saved(n) + 4 * connector)
    length = sum(_example_tokens(sizes, job, task) for task in tasks) / len(tasks)
    held = ROW_BYTES * sizes.raw_rows([sizes.plan.question_dataset])
    return optimise(n, job.settings["training"], length, trained, held=held, more=connector)


def _adapter(n: float, job: Job) -> Trained:
    """The adapter of a multi-task run: its own, or those of its parents."""
    if job.settings["adapter"] is not None:
        return context_adapter(n, job.settings["adapter"])
    joined = [_adapter(n, parent) for parent in job.parents if parent.rule == job.rule]
    return Trained(group=max(one.group for one in joined), groups=sum(one.groups for one in joined))


def evaluate_multitask(sizes: Sizes, job: Job) -> Work:
    """Captions, and as many questions about texts as about images, whose answers are written."""
    n, settings = sizes.captioner, job.settings
    shown, asked = sizes.images("test"), sizes.visual_questions
    questions = ("visual-questions", "text-questions")
    tokens = _scored(sizes, job, min(shown, settings["images"] or shown))
    tokens += asked * sum(_example_tokens(sizes, job, task) for task in questions)
    steps = 2 * -(-asked // settings["batch"]) * settings["max_new_tokens"]
    rows = 2 * asked + CAPTIONS * shown
    work = model_work(n, 2 * n * tokens, seconds=DECODING_SECONDS * steps, held=ROW_BYTES * 2 * asked)
    return replace(work, disk=SCORE_BYTES * rows)

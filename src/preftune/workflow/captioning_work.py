"""What each step of the Context-PEFT paper computes and holds."""

from preftune.workflow.jobs import Job
from preftune.workflow.sizes import (
    CAPTION_TOKENS,
    CAPTIONS,
    IMAGE_TOKENS,
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
    TOKEN_BYTES,
    Trained,
    Work,
    context_adapter,
    model_work,
    optimise,
)

EXAMPLE_TOKENS = {
    "captions": IMAGE_TOKENS + CAPTION_TOKENS,
    "text-questions": QUESTION_TOKENS["squad-v2"],
    "visual-questions": IMAGE_TOKENS + VISUAL_QUESTION_TOKENS,
}


def _scored(images: float) -> float:
    """Tokens of images with all their captions."""
    return images * (IMAGE_TOKENS + CAPTIONS * CAPTION_TOKENS)


def prepare_captions(sizes: Sizes, job: Job) -> Work:
    """Every picture is opened."""
    return Work(seconds=PICTURE_SECONDS * sizes.all_images, bytes=CAPTIONS * ROW_BYTES * sizes.all_images)


def prepare_questions(sizes: Sizes, job: Job) -> Work:
    """Every question is read, and every picture of theirs opened."""
    rows = sizes.raw_rows([sizes.plan.question_dataset])
    return Work(seconds=ROW_SECONDS * rows + PICTURE_SECONDS * sizes.all_images, bytes=ROW_BYTES * rows)


def compute_features(sizes: Sizes, job: Job) -> Work:
    """All views of the training images, the plain one of the others; the first parent fetched the encoder."""
    n = sizes.parameters(job.parents[0].settings["name"])
    views = sizes.all_images + (job.settings["views"] - 1) * sizes.images("train")
    return model_work(n, ENCODER_OPERATIONS * n * views, seconds=PICTURE_SECONDS * views)


def train_captioner(sizes: Sizes, job: Job) -> Work:
    """A caption an example, and the validation images as often as they are looked at."""
    n, settings = sizes.captioner, job.settings
    training, every = settings["training"], settings["validate_every"]
    shown = min(sizes.images("validation"), settings["validation_images"] or sizes.images("validation"))
    read = training["steps"] // every * _scored(shown) if every else 0
    held = 2 * TOKEN_BYTES * CAPTIONS * CAPTION_TOKENS * sizes.images("train")
    trained = context_adapter(n, settings["adapter"])
    return optimise(n, training, EXAMPLE_TOKENS["captions"], trained, held=held, read=read)


def evaluate_captioner(sizes: Sizes, job: Job) -> Work:
    """Captions of two splits, with their image and with a blank one; passages; captions written by beam search."""
    n, settings, shown = sizes.captioner, job.settings, sizes.evaluated_images("test")
    tokens = 2 * _scored(shown + sizes.evaluated_images("validation"))
    tokens += 2 * settings["text"]["passages"] * settings["text"]["tokens"]
    tokens += shown * settings["beams"] * (IMAGE_TOKENS + settings["max_new_tokens"])
    steps = -(-shown // settings["batch"]) * settings["max_new_tokens"]
    return model_work(n, 2 * n * tokens, seconds=DECODING_SECONDS * steps)


def evaluate_captions(sizes: Sizes, job: Job) -> Work:
    """METEOR and SPICE run in Java, with memory of their own."""
    spice, images = job.settings["spice"] is not None, sizes.evaluated_images("test")
    return Work(seconds=30 + images * (0.2 if spice else 0.01), bytes=9e9 if spice else 1.5e9)


def compute_attention(sizes: Sizes, job: Job) -> Work:
    return model_work(sizes.captioner, 2 * sizes.captioner * _scored(job.settings["images"]))


def train_multitask(sizes: Sizes, job: Job) -> Work:
    """Its tasks are drawn evenly; a run without tasks only joins its parents."""
    n, tasks = sizes.captioner, job.settings["tasks"]
    if not tasks:
        return model_work(n)
    length = sum(EXAMPLE_TOKENS[task] for task in tasks) / len(tasks)
    held = ROW_BYTES * sizes.raw_rows([sizes.plan.question_dataset])
    return optimise(n, job.settings["training"], length, _adapter(n, job), held=held)


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
    tokens = _scored(min(shown, settings["images"] or shown))
    tokens += asked * (EXAMPLE_TOKENS["visual-questions"] + EXAMPLE_TOKENS["text-questions"])
    steps = 2 * -(-asked // settings["batch"]) * settings["max_new_tokens"]
    held = ROW_BYTES * 2 * asked
    return model_work(n, 2 * n * tokens, seconds=DECODING_SECONDS * steps, held=held)

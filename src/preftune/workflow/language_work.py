"""What each step of the DPH paper computes and holds."""

from preftune.workflow.jobs import Job
from preftune.workflow.sizes import CANDIDATES, Sizes
from preftune.workflow.work import (
    CHECKED_BYTES,
    CHECKED_SECONDS,
    CHECKPOINT_BYTES,
    CHECKPOINTS,
    DECODING_SECONDS,
    IDS_BYTES,
    ITEM_BYTES,
    ITEM_SECONDS,
    ROW_BYTES,
    ROW_SECONDS,
    SCORE_BYTES,
    STREAM_BYTES,
    TOKEN_BYTES,
    TRAINED_BYTES,
    TREE_BYTES,
    Work,
    head_parameters,
    language_part,
    model_work,
    optimise,
    state_bytes,
)

LOSSES_AND_LEVELS = 25
"""Gradients that are compared: of five losses at five levels of freezing."""
OPINION_SECONDS = 15
"""Until lm-eval has loaded its own tasks."""
OPINION_BYTES = 2 * 2 * 4 * 50_000
"""Of a token of mean length in a batch of lm-eval: logits and their logarithms over a vocabulary, float32, padded to the longest
text, which is taken for twice the mean (measured with nine tasks of small-cpu: a step of 6.4 GB)."""
SLOWER_IN_FLOAT32 = 8
"""A GPU, beside bfloat16; a CPU computes in float32 anyway."""


def prepare_dataset(sizes: Sizes, job: Job) -> Work:
    """All rows are read and checked, those within the limits are kept."""
    dataset = sizes.dataset_of(job)
    rows = sizes.raw_rows([dataset])
    held = STREAM_BYTES + CHECKED_BYTES * rows
    return Work(seconds=CHECKED_SECONDS * rows, bytes=held, disk=sizes.text_bytes([dataset]))


def prepare_mix(sizes: Sizes, job: Job) -> Work:
    """As many examples as the mix has are worded and tokenised."""
    examples = job.settings["examples"]
    tokens = examples * sizes.mix_tokens[job.rule.removeprefix("prepare_")]
    return Work(seconds=ROW_SECONDS * examples, bytes=STREAM_BYTES, disk=IDS_BYTES * tokens)


def compute_overlap(sizes: Sizes, job: Job) -> Work:
    rows = sum(sizes.kept_rows(sizes.plan.overlap_datasets).values())
    return Work(seconds=ROW_SECONDS * rows, bytes=ROW_BYTES * rows)


def train_sft(sizes: Sizes, job: Job) -> Work:
    n, settings, length = sizes.language, job.settings, sizes.mix_tokens["sft_mix"]
    trained = language_part(n, "lora" if settings["lora"] else settings["freeze"], settings["lora"])
    held = _mix_bytes(sizes, "sft_mix")
    return optimise(n, settings["training"], length, trained, held=held)


def train_alignment(sizes: Sizes, job: Job) -> Work:
    """The reference of dpo and ipo was computed before; for kl the model as it started reads beside the trained one."""
    n, settings, length = sizes.language, job.settings, sizes.mix_tokens["preference_mix"]
    trained, training = language_part(n, settings["freeze"], settings["lora"]), settings["training"]
    read = training["steps"] * training["batch"] * length if settings["policy"] == "kl" else 0
    head = head_parameters(n) if settings["dph"] != "none" else 0
    return optimise(
        n, training, length, trained, held=_mix_bytes(sizes, "preference_mix"), read=read, more=head
    )


def _mix_bytes(sizes: Sizes, mix: str) -> float:
    return (TREE_BYTES + IDS_BYTES * sizes.mix_tokens[mix]) * getattr(sizes.plan.dph, mix).examples


def train_heads(sizes: Sizes, job: Job) -> Work:
    """A head alone, on the states of both answers of every pair."""
    head, training = head_parameters(sizes.language), job.settings["training"]
    states = state_bytes(sizes.language, 2 * sizes.plan.dph.preference_mix.examples)
    operations = 6 * head * 2 * training["steps"] * training["batch"]
    scratch = CHECKPOINTS * CHECKPOINT_BYTES * head
    return Work(operations, head, bytes=states + (4 + TRAINED_BYTES) * head, disk=4 * head, scratch=scratch)


def compute_reference(sizes: Sizes, job: Job) -> Work:
    """Every pair once; the states only where heads train alone."""
    n, pairs = sizes.language, sizes.plan.dph.preference_mix.examples
    states = state_bytes(n, 2 * pairs) if job.settings["states"] else 0
    operations = 2 * n * pairs * sizes.mix_tokens["preference_mix"]
    return model_work(
        n, operations, held=_mix_bytes(sizes, "preference_mix") + states, disk=SCORE_BYTES * pairs + states
    )


def compute_gradients(sizes: Sizes, job: Job) -> Work:
    n, tokens = sizes.language, job.settings["pairs"] * sizes.mix_tokens["preference_mix"]
    return model_work(
        n, LOSSES_AND_LEVELS * 6 * n * tokens, held=TRAINED_BYTES * n + _mix_bytes(sizes, "preference_mix")
    )


def evaluate_tasks(sizes: Sizes, job: Job) -> Work:
    """Every question once, its candidates on the shared prompt."""
    n, settings = sizes.language, job.settings
    counts = sizes.questions(settings["tasks"], settings["limit"])
    tokens = sum(rows * length for rows, length in counts)
    answers = CANDIDATES * sum(rows for rows, _ in counts)
    states = state_bytes(n, answers) if settings.get("states") else 0
    slower = SLOWER_IN_FLOAT32 if sizes.config.training_gpus and settings["dtype"] == "float32" else 1
    held, disk = TOKEN_BYTES * tokens + ITEM_BYTES * answers + states, SCORE_BYTES * answers + states
    return model_work(n, slower * 2 * n * tokens, seconds=ITEM_SECONDS * answers, held=held, disk=disk)


def evaluate_heads(sizes: Sizes, job: Job) -> Work:
    """Rewards of every candidate from its state."""
    head, answers = head_parameters(sizes.language), sizes.score_rows["evaluate_heads"]
    held = state_bytes(sizes.language, answers) + ITEM_BYTES * answers + 4 * head
    return Work(2 * head * answers, head, ROW_SECONDS * answers, held, SCORE_BYTES * answers)


def evaluate_drift(sizes: Sizes, job: Job) -> Work:
    """Passages read by the run; answers read by it and by what it started from; answers written by it."""
    n, drift = sizes.language, job.settings
    passage = sizes.passage_tokens(drift["text_dataset"], drift["text_tokens"])
    read = drift["texts"] * (passage + 2 * max(map(sizes.tokens, drift["answer_tasks"])))
    written = drift["prompts"] * (sizes.dataset_tokens(drift["prompt_dataset"]) + drift["max_new_tokens"])
    steps = -(-drift["prompts"] // drift["batch"]) * drift["max_new_tokens"]
    return model_work(n, 2 * n * (read + written), seconds=DECODING_SECONDS * steps, held=4 * n)


def evaluate_best_of(sizes: Sizes, job: Job) -> Work:
    """Answers to every prompt, which is read once a batch, are written, then read by the head."""
    n, best = sizes.language, job.settings
    prompts = sum(rows * length for rows, length in sizes.questions(best["tasks"], best["prompts"]))
    answers = len(best["tasks"]) * best["prompts"] * best["count"]
    # The head's reading shares a prompt among its answers too.
    tokens = 2 * prompts + 2 * answers * best["max_new_tokens"]
    steps = -(-answers // best["batch"]) * best["max_new_tokens"]
    return model_work(n, 2 * n * tokens, seconds=DECODING_SECONDS * steps)


def evaluate_second_opinion(sizes: Sizes, job: Job) -> Work:
    """lm-eval reads the prompt again with every candidate, and all in float32; our scorer beside it."""
    n, tasks = sizes.language, [*job.settings["chats"], *job.settings["texts"]]
    questions = sizes.questions(tasks, job.settings["limit"])
    tokens = sum(rows * length for rows, length in questions)
    longest = max((length for _, length in questions), default=0)
    held = 4 * n + OPINION_BYTES * job.settings["batch"] * longest
    slower = SLOWER_IN_FLOAT32 if sizes.config.training_gpus else 1
    return model_work(n, slower * 2 * n * (CANDIDATES + 1) * tokens, seconds=OPINION_SECONDS, held=held)

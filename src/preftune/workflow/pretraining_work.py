"""What the pre-training of a language model computes and holds."""

from preftune.workflow.jobs import Job
from preftune.workflow.sizes import Sizes
from preftune.workflow.work import Trained, Work, optimise

ID_BYTES = 2
"""A token of a corpus on the disk."""
TOKENIZED = 4e5
"""Tokens that one thread tokenises in a second (measured: 5.6e5 in a second of its time, of code and its documentation)."""
BLOCK_BYTES = 100
"""Host memory for the place of a block in the order of the training."""


def prepare_corpus(sizes: Sizes, job: Job) -> Work:
    """Every token once; memory holds a part of a shard at a time, and the documents kept for validation."""
    tokens, held = job.settings["tokens"], job.settings["held_out"]
    seconds = tokens / TOKENIZED / sizes.config.threads
    return Work(seconds=seconds, bytes=1e9 + ID_BYTES * held * tokens, disk=ID_BYTES * (1 + held) * tokens)


def train_language_model(sizes: Sizes, job: Job) -> Work:
    """Every weight trains, but for the table; the validations read its share of the corpus each time."""
    n, training, corpus = sizes.captioner, job.settings["training"], job.parents[-1].settings
    read = training["steps"] // job.settings["validate_every"] * corpus["held_out"] * corpus["tokens"]
    held = BLOCK_BYTES * training["steps"] * training["batch"]
    return optimise(n, training, corpus["block"], Trained(n), held=held, read=read)

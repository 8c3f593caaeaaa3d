"""Scoring of questions."""

from typing import Literal

from pydantic import Field

from preftune.settings.base import TOKENS_PER_PASS, Precision, Settings


class EvaluationOptions(Settings):
    """How every candidate of every question is scored."""

    tasks: tuple[str, ...] = Field(strict=False, min_length=1, description="tasks of config/tasks.yaml")
    limit: int | None = Field(description="questions a task (null: all of the prepared split)")
    long: Literal["refuse", "truncate", "skip"] = Field(
        default="refuse",
        description="questions longer than the model's context: an error, cut by the template's rule, or left out (both counted)",
    )
    tokens_per_pass: int | None = TOKENS_PER_PASS
    dtype: Precision = "auto"


class EvaluationSettings(EvaluationOptions):
    """Scoring of every candidate of every question, and what is kept of it."""

    states: bool = Field(
        default=False,
        description="whether the states that reward heads read are kept, for runs that train a head alone",
    )


class SecondOpinionSettings(Settings):
    """lm-eval on the same questions and prompts."""

    chats: tuple[str, ...] = Field(
        default=(), strict=False, description="tasks compared as chats, with our prompts and token ids"
    )
    texts: tuple[str, ...] = Field(
        default=(), strict=False, description="tasks compared as plain texts, with lm-eval's own prompts"
    )
    limit: int | None = Field(description="questions a task (null: all of the prepared split)")
    batch: int = Field(ge=1)
    dtype: Precision = Field(
        default="float32",
        description="lm-eval takes the softmax in it: in bfloat16 its scores are off by whole nats",
    )


class DriftSettings(Settings):
    """What alignment did to the language model: divergence, perplexity, generations."""

    answer_tasks: tuple[str, ...] = Field(
        strict=False, min_length=1, description="tasks of config/tasks.yaml whose gold answers are read"
    )
    text_dataset: str = Field(description="data set of passages (column article)")
    text_split: str = Field(
        default="test", description="the split whose passages are read: never a training split"
    )
    prompt_dataset: str = Field(description="data set of prompts (column prompt of its validation split)")
    texts: int = Field(ge=1, description="passages of plain text, and held-out answers, that are scored")
    text_tokens: int = Field(default=256, ge=8, description="tokens of a passage that are read at most")
    prompts: int = Field(ge=1, description="prompts that are answered greedily")
    max_new_tokens: int = Field(ge=1, description="tokens of an answer at most")
    batch: int = Field(default=16, ge=1, description="prompts answered at once")
    tokens_per_pass: int | None = TOKENS_PER_PASS
    dtype: Precision = "auto"


class GradientSettings(Settings):
    """Where the gradient of each loss goes at each level of freezing."""

    pairs: int = Field(ge=1, description="pairs of the preference mix whose mean loss is differentiated")
    dtype: Precision = "auto"

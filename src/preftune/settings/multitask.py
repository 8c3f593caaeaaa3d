"""The multi-task experiment: captions, questions about texts, questions about images (Context-PEFT, Fig. 7)."""

from typing import Literal, Self

from pydantic import Field, model_validator

from preftune.settings.adapters import AdapterSettings
from preftune.settings.base import TOKENS_PER_PASS, Precision, Settings
from preftune.settings.training import TrainingSettings

TaskName = Literal["captions", "text-questions", "visual-questions"]


class MultitaskSettings(Settings):
    """One run: adapters of its own, or those of its parents joined; trained on some tasks, or on none."""

    adapter: AdapterSettings | None = Field(description="null: the parents', joined")
    tasks: tuple[TaskName, ...] = Field(
        strict=False,
        description="what it is trained on, drawn evenly; none: the parents are joined as they are",
    )
    training: TrainingSettings
    max_caption_tokens: int = Field(default=63, ge=1)
    connector: Literal["linear", "mlp"] = "linear"
    connector_dropout: float = Field(default=0.1, ge=0, lt=1)
    dtype: Precision = "auto"

    @model_validator(mode="after")
    def _trains_what_it_can(self) -> Self:
        if self.adapter is not None and (self.adapter.kind in ("none", "full") or not self.tasks):
            raise ValueError("an adapter needs a kind that adds parameters, and tasks to be trained on")
        if len(set(self.tasks)) != len(self.tasks):
            raise ValueError("tasks names one of them twice")
        return self

    @property
    def reads_images(self) -> bool:
        """Whether any of the tasks has images."""
        return bool(set(self.tasks) - {"text-questions"})


class MultitaskEvaluationSettings(Settings):
    """Every task's score of one run: caption perplexity, and greedy answers to questions about texts and images."""

    split: Literal["validation", "test"] = "test"
    images: int | None = Field(description="captioned images (null: the whole split)")
    questions: int | None = Field(
        description="questions about images, and as many about texts, chosen by their ids (null: all)"
    )
    metric: Literal["soft", "exact"] = Field(
        default="soft",
        description="score of answers about images: VQAv2's, or GQA's; of one answer they are the same",
    )
    max_new_tokens: int = Field(ge=1, description="tokens of an answer")
    batch: int = Field(ge=1, description="questions answered at once")
    tokens_per_pass: int | None = TOKENS_PER_PASS
    dtype: Precision = "auto"

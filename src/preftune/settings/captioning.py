"""Captioning: data, features, adapters, training, evaluation."""

from typing import Literal

from pydantic import Field

from preftune.settings.base import TOKENS_PER_PASS, Precision, Settings
from preftune.settings.training import TrainingSettings


class CaptionDataSettings(Settings):
    """Which COCO-layout splits stand for train, validation and test."""

    splits: dict[Literal["train", "validation", "test"], str]
    limit: dict[Literal["train", "validation", "test"], int] = Field(default_factory=dict)
    validation_fraction: float = Field(
        default=0.0, ge=0, lt=1, description="seeded part of train used as validation"
    )


class FeatureSettings(Settings):
    """Frozen image features, computed once and stored as float16."""

    batch: int = Field(ge=1)


class AdapterSettings(Settings):
    """A context adapter (Context-PEFT paper, section 3.3)."""

    kind: Literal["none", "lora", "bitfit", "ia3", "full"]
    context: Literal["agnostic", "specific"] = "specific"
    targets: Literal["A", "F", "AF"] = "AF"
    rank: int = Field(default=8, ge=1)


class CaptioningSettings(Settings):
    """One captioning run."""

    adapter: AdapterSettings
    training: TrainingSettings
    max_caption_tokens: int = Field(default=63, ge=1)
    connector_dropout: float = Field(default=0.1, ge=0, lt=1)
    dtype: Precision = "auto"


class CaptionEvaluationSettings(Settings):
    """Perplexity and greedy captions of one trained captioner."""

    split: Literal["validation", "test"] = "test"
    limit: int | None = Field(description="images (null: the whole split)")
    max_new_tokens: int = Field(ge=1)
    batch: int = Field(ge=1, description="images captioned at once")
    tokens_per_pass: int | None = TOKENS_PER_PASS
    dtype: Precision = "auto"


class AttentionSettings(Settings):
    """Images of the attention figure."""

    images: int = Field(ge=1)
    layer: int = Field(ge=0)
    dtype: Precision = "auto"

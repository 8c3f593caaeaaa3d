"""Alignment from an SFT checkpoint."""

from typing import Literal, Self

from pydantic import Field, model_validator

from preftune.settings.base import Precision, Settings
from preftune.settings.training import FreezingLevel, LoraSettings, TrainingSettings

REFERENCED = ("dpo", "ipo")
"""Policy losses that need log-probabilities of the reference model."""


class AlignmentSettings(Settings):
    """Direct Preference Heads and/or an objective of the language model, from an SFT checkpoint (DPH paper, code defaults).

    L = dph_weight L_dph + reward_penalty_weight L_penalty + policy_weight L_policy
    """

    dph: Literal["separable", "contrastive", "none"] = Field(description="loss of the reward head")
    policy: Literal["dpo", "ipo", "simpo", "orpo", "sft", "kl", "none"] = Field(
        description="loss of the language model: dpo is cDPO, sft the likelihood of the preferred answers, kl the "
        "divergence from the SFT model"
    )
    dph_weight: float = Field(default=1.0, ge=0)
    policy_weight: float = Field(default=1.0, ge=0)
    label_smoothing: float = Field(default=0.1, ge=0, lt=0.5, description="epsilon of the DPH loss")
    reward_penalty: Literal["none", "each", "sum"] = Field(
        default="none", description="mean of r_w^2 + r_l^2 (each) or of (r_w + r_l)^2 (sum)"
    )
    reward_penalty_weight: float = Field(default=0.1, ge=0)
    beta: float = Field(
        default=0.1, gt=0, description="strength of the pull to the reference (dpo, ipo, simpo)"
    )
    policy_label_smoothing: float = Field(default=0.1, ge=0, lt=0.5, description="epsilon of cDPO")
    target_margin: float = Field(default=0.5, ge=0, description="gamma of SimPO")
    odds_weight: float = Field(
        default=0.1, ge=0, description="alpha of ORPO's odds ratio beside the likelihood"
    )
    flipped: float = Field(
        default=0.0,
        ge=0,
        lt=0.5,
        description="share of the training pairs whose answers are exchanged (a control)",
    )
    freeze: FreezingLevel = Field(
        default="none",
        description="what of the language model stays as it is: nothing; the transformer blocks; their attention and "
        "feed-forward layers (norms train); all but a LoRA adapter; all of it (states are computed once)",
    )
    lora: LoraSettings = Field(
        default=LoraSettings(),
        description="the adapter of freeze: lora, where the SFT checkpoint has none of its own",
    )
    pooler: Literal["identity", "bert", "t5", "swiglu_bert", "swiglu_t5"] = "swiglu_bert"
    reward_dropout: float = Field(default=0.0, ge=0, lt=1)
    head_weight_decay: float = Field(default=0.1, ge=0)
    head_learning_rate: float | None = Field(default=None, gt=0, description="null: as the backbone's")
    training: TrainingSettings
    dtype: Precision = "auto"

    @property
    def needs_reference(self) -> bool:
        """Whether reference log-probabilities are read."""
        return self.policy in REFERENCED

    @model_validator(mode="after")
    def _trains_something(self) -> Self:
        if self.dph == "none" and self.policy == "none":
            raise ValueError(
                "dph and policy are both none, so nothing would be trained: switch one of them on"
            )
        if self.dph == "none" and self.reward_penalty != "none":
            raise ValueError("reward_penalty needs a reward head: set dph, or set reward_penalty to none")
        if self.freeze == "model" and (self.dph == "none" or self.policy != "none"):
            raise ValueError("with freeze: model only the head trains, so set dph and set policy to none")
        return self

"""Supervised fine-tuning."""

from typing import Literal, Self

from pydantic import Field, model_validator

from preftune.settings.base import Precision, Settings
from preftune.settings.training import LoraSettings, TrainingSettings


class SftSettings(Settings):
    """Supervised fine-tuning on the answers."""

    training: TrainingSettings
    lora: LoraSettings | None = Field(description="null: all weights are trained")
    freeze: Literal["none", "blocks", "layers"] = Field(
        default="none",
        description="what stays as it is without lora; blocks: the stage that teaches new chat tokens trains embeddings",
    )
    dtype: Precision = "auto"

    @model_validator(mode="after")
    def _freezes_once(self) -> Self:
        if self.lora is not None and self.freeze != "none":
            raise ValueError("lora freezes all weights already: set lora to null, or freeze to none")
        return self

"""What all settings share."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Precision = Literal["auto", "float32", "bfloat16"]
TOKENS_PER_PASS = Field(
    default=None, ge=1, description="tokens of one forward pass; no result depends on it (null: by device)"
)


class Settings(BaseModel):
    """Base of all settings: unknown keys and silent type conversions are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

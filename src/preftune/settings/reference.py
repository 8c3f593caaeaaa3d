"""What is computed once for all alignments from an SFT checkpoint: reference log-probabilities, hidden states."""

from pydantic import Field

from preftune.settings.base import TOKENS_PER_PASS, Precision, Settings


class ReferenceOptions(Settings):
    """How the SFT model reads the pairs."""

    tokens_per_pass: int | None = TOKENS_PER_PASS
    dtype: Precision = "auto"


class ReferenceSettings(ReferenceOptions):
    """One pass of the SFT model over the pairs, and what is kept of it."""

    states: bool = Field(default=False, description="whether the states that reward heads read are kept")

"""Settings of the tables that compare alignments; light, because the workflow validates with them at parse time."""

from typing import Literal

from pydantic import ConfigDict, Field

from preftune.settings.base import Settings
from preftune.settings.report import TableSettings


class RunFacts(Settings):
    """What tables and figures read of an alignment run's settings; the other keys of those may stand beside it."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    dph: Literal["separable", "contrastive", "none"]
    pooler: str
    label_smoothing: float
    freeze: str
    flipped: float = 0.0


class AlignmentTableSettings(TableSettings):
    """What the tables of alignment costs, baselines and frozen runs need beside the scores."""

    mix_tasks: tuple[str, ...] = Field(
        default=(),
        strict=False,
        description="tasks of the preference mix: what is outside of it was not trained on",
    )
    settings: dict[str, RunFacts] = Field(
        default_factory=dict, description="settings of each alignment run, by its name"
    )

"""Settings of the tables that compare alignments; light, because the workflow validates with them at parse time."""

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import ConfigDict, Field

from preftune.settings.alignment import REFERENCED
from preftune.settings.base import Settings
from preftune.settings.report import TableSettings


class RunFacts(Settings):
    """What tables and figures read of an alignment run's settings; the other keys of those may stand beside it."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    dph: Literal["separable", "contrastive", "none"]
    policy: str
    pooler: str
    label_smoothing: float
    freeze: str
    flipped: float = 0.0

    @property
    def head(self) -> tuple[str, str, float]:
        """Pooler, loss and label smoothing: what places a head among others."""
        return self.pooler, self.dph, self.label_smoothing

    @property
    def reads_reference(self) -> bool:
        """Whether training reads what the SFT model said of the pairs beforehand: log-probabilities or states."""
        return self.freeze == "model" or self.policy in REFERENCED


def frozen_runs(runs: Sequence[str], settings: Mapping[str, RunFacts]) -> dict[str, RunFacts]:
    """The runs that train a head alone, whatever their names, in the order of `runs`."""
    known = {run: settings[run] for run in runs if run in settings}
    return {run: facts for run, facts in known.items() if facts.freeze == "model"}


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

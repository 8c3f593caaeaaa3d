"""Released models that are scored as they are."""

from pydantic import Field

from preftune.settings.base import Settings


class ReleasedSettings(Settings):
    """A run whose model somebody else trained."""

    model: str = Field(
        description="a model of kind language in config/models.yaml, with its reward head if it has one"
    )

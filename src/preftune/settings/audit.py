"""Settings of the audit."""

from typing import Any

from pydantic import Field

from preftune.settings.base import Settings


class AuditSettings(Settings):
    """What the results should hold now.

    config: the scale's whole config, with what the command line changed in it; empty: results are compared with their
    records alone. source: the config's file.
    """

    config: dict[str, Any] = Field(default_factory=dict)
    source: str = "config"

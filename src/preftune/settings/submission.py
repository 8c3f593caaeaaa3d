"""Files for the GLUE server."""

from typing import Literal

from pydantic import Field

from preftune.settings.base import Settings


class SubmissionSettings(Settings):
    """What is made for the GLUE server at a scale."""

    runs: tuple[str, ...] = Field(
        strict=False,
        description="runs whose first seed answers the hidden test splits; none: nothing is made",
    )
    limit: int | None = Field(
        description="questions a test split (null: all of the prepared one); the server takes whole ones only"
    )


class GlueFileSettings(Settings):
    """One file for the GLUE server."""

    score: Literal["log", "reward"] = Field(description="the score whose best candidate is the answer")
    counts: dict[str, int] | None = Field(
        default=None,
        description="rows of each whole test split, by task (null: as many as were scored, which the server refuses)",
    )

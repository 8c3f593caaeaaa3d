"""What tables and figures say about themselves."""

from typing import Literal

from pydantic import Field

from preftune.settings.base import Settings

OTHER_MODEL = "other language model"
"""What the data of a table or figure say, beside its name, where the language model is not the paper's."""


class TableSettings(Settings):
    """What a table says about itself."""

    paper: Literal["dph", "context_peft"]
    scale: str
    data: str = Field(description="embedded, or the name of the real data's source")
    runs: tuple[str, ...] = Field(strict=False, description="runs of this scale")
    tolerance: float | None = Field(
        default=None,
        description="what `reproduced` means at this scale, in the table's unit (null: as each cell says)",
    )


class MultitaskTableSettings(TableSettings):
    """What the table of the multi-task experiment needs beside the scores."""

    alone: dict[str, str] = Field(
        default_factory=dict,
        description="the run that was trained on one task and on nothing else, by the task",
    )


class FigureSettings(Settings):
    """What a figure says about itself."""

    scale: str
    data: str
    runs: tuple[str, ...] = Field(default=(), strict=False)

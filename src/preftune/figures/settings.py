"""Settings of the figure and report steps; light, because the workflow validates with them before any job starts."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class FigureSettings(BaseModel):
    """What every figure prints in its footer, and how runs are named in its legend."""

    model_config = ConfigDict(strict=True, extra="forbid")

    scale: str = Field(description="name of the scale, printed in the footer")
    data: str = Field(description="kind of the data, printed in the footer")
    labels: dict[str, str] = Field(default_factory=dict, description="legend text of a run, where its name is not enough")

    def label(self, run: str) -> str:
        """Legend text of a run: its label, or its own name."""
        return self.labels.get(run, run)


class LandscapeSettings(FigureSettings):
    """Label smoothings whose loss surfaces are drawn, in the order of the columns."""

    epsilons: list[float] = Field(default=[0.0, 0.1, 0.3], min_length=1, max_length=5)
    reward_limit: float = Field(default=5.0, gt=0, description="rewards are drawn from -limit to +limit")


class CurveSettings(FigureSettings):
    """Title of a figure of training curves."""

    title: str = "Training curves"


class System(BaseModel):
    """One scored system: a run read by one of its scores."""

    model_config = ConfigDict(strict=True, extra="forbid")

    run: str
    score: Literal["log", "reward"]
    label: str


class TaskScoreSettings(FigureSettings):
    """The systems that are compared, in the order of the legend."""

    systems: list[System] = Field(
        default=[
            System(run="base", score="log", label="base (log)"),
            System(run="sft", score="log", label="SFT (log)"),
            System(run="dph-joint", score="log", label="aligned (log)"),
            System(run="dph-joint", score="reward", label="aligned (reward)"),
        ],
        min_length=1,
    )


class GallerySettings(FigureSettings):
    """How many images the gallery shows: the first ones of the captions file, never chosen by hand."""

    images: int = Field(default=12, gt=0, le=60)
    columns: int = Field(default=4, gt=0, le=8)


class AttentionSettings(FigureSettings):
    """How many images the attention figure shows."""

    images: int = Field(default=6, gt=0, le=12)


class ReportSettings(BaseModel):
    """What the report says of itself, and how many images its gallery holds."""

    model_config = ConfigDict(strict=True, extra="forbid")

    scale: str
    data: str
    gallery_images: int = Field(default=12, ge=0, le=60)

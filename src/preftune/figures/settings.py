"""Settings of the figure and report steps; light, because the workflow validates with them at parse time."""

from typing import Literal

from pydantic import Field

from preftune.settings.base import Settings
from preftune.settings.report import FigureSettings
from preftune.tables.captioners import CaptionerSettings
from preftune.tables.settings import RunFacts


class LabelledFigureSettings(FigureSettings):
    """A figure of runs: `runs` is the order of the legend; a label replaces a run's name."""

    labels: dict[str, str] = Field(default_factory=dict)

    def label(self, run: str) -> str:
        """Legend text of a run: its label, or its own name."""
        return self.labels.get(run, run)


class LandscapeSettings(FigureSettings):
    """Label smoothings whose loss surfaces are drawn, in the order of the columns."""

    epsilons: tuple[float, ...] = Field(default=(0.0, 0.1, 0.3), strict=False, min_length=1, max_length=5)
    reward_limit: float = Field(default=5.0, gt=0, description="rewards are drawn from -limit to +limit")


class CurveSettings(LabelledFigureSettings):
    """Title of a figure of training curves."""

    title: str = "Training curves"


class System(Settings):
    """One scored system: a run read by one of its scores."""

    run: str
    score: Literal["log", "reward", "implicit"]
    label: str


class TaskScoreSettings(FigureSettings):
    """The systems that are compared, in the order of the legend."""

    systems: tuple[System, ...] = Field(
        default=(
            System(run="base", score="log", label="base (log)"),
            System(run="sft", score="log", label="SFT (log)"),
            System(run="dph-joint", score="log", label="aligned (log)"),
            System(run="dph-joint", score="reward", label="aligned (reward)"),
            System(run="dph-joint", score="implicit", label="aligned (implicit)"),
        ),
        strict=False,
        min_length=1,
    )


class PairFigureSettings(LabelledFigureSettings):
    """The runs whose rewards of held-out pairs are drawn, a panel each."""

    shown: tuple[str, ...] = Field(
        default=("dph-joint", "dph-contrastive", "dph-only", "dph-frozen", "linear-probe", "bradley-terry"),
        strict=False,
        min_length=1,
        max_length=9,
    )


class ReliabilityFigureSettings(PairFigureSettings):
    """Settings of the alignment runs, from which each run's loss is read: it says where the probability stands."""

    settings: dict[str, RunFacts] = Field(default_factory=dict)


class NoiseFigureSettings(FigureSettings):
    """Settings of the alignment runs, from which the loss, epsilon and flipped share of each frozen run are read."""

    settings: dict[str, RunFacts] = Field(default_factory=dict)


class CostFigureSettings(LabelledFigureSettings):
    """The systems that are held against the SFT model, and the tasks of the preference mix."""

    shown: tuple[str, ...] = Field(
        default=("dph-joint", "dpo-only", "dph-only", "dph-frozen"), strict=False, min_length=1
    )
    mix_tasks: tuple[str, ...] = Field(default=(), strict=False)


class DriftFigureSettings(FigureSettings):
    """The systems of the chart of accuracy against divergence, each read by the score that its training shapes."""

    systems: tuple[System, ...] = Field(
        default=(
            System(run="sft", score="log", label="SFT (log)"),
            System(run="sft-chosen", score="log", label="SFT on preferred answers (log)"),
            System(run="dpo-only", score="implicit", label="DPO only (implicit)"),
            System(run="dph-joint", score="reward", label="DPH and DPO (reward)"),
            System(run="dph-contrastive", score="reward", label="DPH contrastive and DPO (reward)"),
            System(run="dph-only", score="reward", label="DPH only (reward)"),
            System(run="dph-frozen", score="reward", label="DPH, frozen model (reward)"),
        ),
        strict=False,
        min_length=1,
    )


class AdapterFigureSettings(FigureSettings):
    """Which encoder stands at this scale where the paper's column names another one."""

    encoders: dict[str, str] = Field(default_factory=dict, description="the paper's encoder -> this scale's")


class ParetoFigureSettings(LabelledFigureSettings):
    """Settings of the captioning runs, which say each run's adapter and encoder."""

    captioners: dict[str, CaptionerSettings] = Field(default_factory=dict)


class EqualDataFigureSettings(FigureSettings):
    """Settings of the captioning runs, which say which are points of one method's grid."""

    captioners: dict[str, CaptionerSettings] = Field(default_factory=dict)


class GallerySettings(LabelledFigureSettings):
    """How many images the gallery shows: the first ones of the captions file, never chosen by hand."""

    images: int = Field(default=12, gt=0, le=60)
    columns: int = Field(default=4, gt=0, le=8)


class AttentionFigureSettings(FigureSettings):
    """How much of the attention archive is drawn."""

    images: int = Field(default=6, gt=0, le=12, description="first images of the archive")
    words: int = Field(default=6, gt=0, le=10, description="first content words of each caption")


class ReportSettings(Settings):
    """What the report says of itself, and how many images its gallery holds."""

    scale: str
    data: str
    gallery_images: int = Field(default=12, ge=0, le=60)


class MarginFigureSettings(LabelledFigureSettings):
    """Label smoothings whose gradients are drawn, and the settings of the alignment runs, which name each run's cap."""

    epsilons: tuple[float, ...] = Field(
        default=(0.0, 0.05, 0.1, 0.2), strict=False, min_length=1, max_length=5
    )
    pooler: str = Field(default="swiglu_bert", description="runs with other poolers are left out")
    settings: dict[str, RunFacts] = Field(default_factory=dict)

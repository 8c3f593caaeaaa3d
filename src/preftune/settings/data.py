"""Data sets and training mixes."""

from typing import Literal

from pydantic import Field

from preftune.settings.base import Settings


class DatasetSettings(Settings):
    """How many rows of each prepared split are kept, after a seeded shuffle (null: all)."""

    limit_train: int | None = Field(ge=1, description="training rows kept")
    limit_evaluation: int | None = Field(ge=1, description="validation and test rows kept")


class MixSettings(Settings):
    """A training mix, drawn uniformly over its tasks or by their sizes."""

    examples: int = Field(ge=1, description="examples (or pairs) drawn")
    max_tokens: int = Field(ge=8, description="tokens of an example's longest path")
    long: Literal["skip", "truncate", "refuse"] = Field(
        default="skip",
        description="longer examples: skipped, cut by the template's rule (both counted), or an error",
    )
    tasks: tuple[str, ...] = Field(
        strict=False, description="tasks of config/tasks.yaml, in SFT also data sets of dialogues"
    )
    sampling: Literal["uniform", "size"] = Field(
        default="uniform",
        description="every task equally often, or as often as its weight min(rows, elbow) says",
    )
    elbow: int | None = Field(
        default=None, ge=1, description="largest weight of sampling: size (null: no limit)"
    )


class SftMixSettings(MixSettings):
    """The SFT mix."""

    copies: int = Field(
        default=1,
        ge=1,
        description="how often one document stands in a row (the authors: 5), each answer after the others",
    )


class PreferenceMixSettings(MixSettings):
    """The preference mix."""

    faithful_bugs: bool = Field(
        default=False,
        description="UltraFeedback's pairs as the authors' loader reads them: the prompt against itself, not the answers",
    )


class OverlapSettings(Settings):
    """Which questions of the evaluation also stand in training data."""

    train: tuple[str, ...] = Field(strict=False, description="tasks whose training splits the mixes take")
    evaluation: tuple[str, ...] = Field(strict=False, description="scored tasks")
    limit: int | None = Field(description="questions a scored task (null: all of the prepared split)")


class LanguageDataSettings(Settings):
    """Size of the embedded language data."""

    train: int = Field(ge=1, description="training rows a data set")
    evaluation: int = Field(ge=1, description="validation or test rows a data set")


class SceneSettings(Settings):
    """Number of generated scenes."""

    train: int = Field(ge=1)
    validation: int = Field(ge=1)
    test: int = Field(ge=1)

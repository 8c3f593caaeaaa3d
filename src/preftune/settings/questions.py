"""Visual questions and text questions of the multi-task experiment."""

from typing import Literal

from pydantic import Field, model_validator

from preftune.settings.base import Settings

Split = Literal["train", "validation", "test"]


class TextQuestionSettings(Settings):
    """Questions about texts from a prepared data set of passages with questions and answer spans."""

    dataset: str = Field(description="its columns are context, question and answers, as squad-v2's")
    splits: dict[Split, str] = Field(description="its name of each split")
    limit: dict[Split, int] = Field(default_factory=dict, description="questions of a split (absent: all)")
    max_words: int = Field(default=300, ge=1, description="questions about a longer text are left out")


class QuestionSettings(Settings):
    """Which files of questions stand for train, validation and test, and how much of them is kept."""

    format: Literal["scenes", "vqav2", "gqa"]
    splits: dict[Split, str] = Field(
        description="the source's name of each split: train; train2014 (VQAv2); train_balanced (GQA)"
    )
    limit: dict[Split, int] = Field(default_factory=dict, description="images a split (absent: all)")
    questions_per_image: int | None = Field(
        default=None, ge=1, description="a seeded choice among each image's questions (null: all)"
    )
    validation_fraction: float = Field(
        default=0.0, ge=0, lt=1, description="seeded part of train's images used as validation"
    )

    text: TextQuestionSettings | None = Field(
        default=None, description="questions about texts, where the source has none of its own"
    )

    @model_validator(mode="after")
    def _one_source_of_texts(self) -> "QuestionSettings":
        if self.text is not None and self.format == "scenes":
            raise ValueError("the scenes have questions about texts of their own: leave out text")
        return self

    @model_validator(mode="after")
    def _one_validation(self) -> "QuestionSettings":
        if self.validation_fraction and (self.format == "scenes" or "validation" in self.splits):
            raise ValueError("there is a validation split already: leave out validation_fraction")
        return self

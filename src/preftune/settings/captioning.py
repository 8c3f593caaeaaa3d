"""Captioning: data, features, adapters, training, evaluation."""

from typing import Literal, Self

from pydantic import Field, model_validator

from preftune.settings.adapters import AdapterSettings
from preftune.settings.base import TOKENS_PER_PASS, Precision, Settings
from preftune.settings.training import TrainingSettings

Split = Literal["train", "validation", "test"]


class CaptionDataSettings(Settings):
    """Which splits of a captioned data set stand for train, validation and test.

    A source is `<source>` of COCO's annotations/captions_<source>.json, or with `karpathy` one split of that file or
    several, as in train+restval.
    """

    splits: dict[Split, str]
    karpathy: str | None = Field(
        default=None,
        description="Karpathy's dataset_coco.json, relative to the raw folder or its folder coco",
    )
    expected: dict[Split, int] = Field(
        default_factory=dict, description="images of a split before its limit; another number is an error"
    )
    limit: dict[Split, int] = Field(default_factory=dict)
    validation_fraction: float = Field(
        default=0.0, ge=0, lt=1, description="seeded part of train used as validation"
    )

    @model_validator(mode="after")
    def _expects_what_it_reads(self) -> Self:
        if unknown := sorted(set(self.expected) - set(self.splits)):
            raise ValueError(f"expected names the split {unknown[0]}, which splits does not")
        return self


class FeatureSettings(Settings):
    """Frozen image features, computed once and stored as float16.

    Views beyond the first are for training, which draws one at every step. The paper names flip, crop and colour jitter
    without magnitudes; the defaults are mild ones, so that captions keep describing what is seen.
    """

    batch: int = Field(ge=1)
    views: int = Field(
        default=1, ge=1, description="stored views of a training image: the plain picture, then random ones"
    )
    flip: float = Field(default=0.5, ge=0, le=1, description="chance that a view is mirrored")
    crop: float = Field(default=0.8, gt=0, le=1, description="smallest part of the area that a view keeps")
    colour: float = Field(
        default=0.2, ge=0, lt=1, description="largest relative change of brightness, contrast and saturation"
    )


class CaptioningSettings(Settings):
    """One captioning run."""

    adapter: AdapterSettings
    training: TrainingSettings
    max_caption_tokens: int = Field(default=63, ge=1)
    connector: Literal["linear", "mlp"] = "linear"
    train_fraction: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="part of the training images, drawn by the seed, smaller parts in larger ones",
    )
    views: int | None = Field(
        default=None, ge=1, description="views of an image that are drawn from (null: all that are stored)"
    )
    validate_every: int | None = Field(
        default=None,
        ge=1,
        description="steps between two measurements of the validation perplexity, whose best weights are kept (null: the last "
        "weights are)",
    )
    validation_images: int | None = Field(default=None, ge=1, description="null: all")
    connector_dropout: float = Field(default=0.1, ge=0, lt=1)
    dtype: Precision = "auto"


class PassageSettings(Settings):
    """Plain text on which the language model is read before and after the training."""

    dataset: str = Field(description="prepared data set of passages (column article)")
    split: str = "test"
    passages: int = Field(ge=1)
    tokens: int = Field(default=256, ge=8, description="tokens of a passage that are read at most")


class CaptionEvaluationSettings(Settings):
    """One trained captioner: perplexity of validation and test captions and of plain text, and captions of the test images."""

    limit: int | None = Field(description="images of a split (null: all)")
    text: PassageSettings
    max_new_tokens: int = Field(ge=1, description="tokens of a generated caption at most")
    beams: int = Field(default=1, ge=1, description="1: greedy")
    batch: int = Field(ge=1, description="images captioned at once")
    tokens_per_pass: int | None = TOKENS_PER_PASS
    dtype: Precision = "auto"


class CaptionMetricSettings(Settings):
    """Metrics of generated captions."""

    spice: str | None = Field(
        default=None,
        description="folder of stanford-corenlp-3.6.0.jar and its -models.jar (null: SPICE is absent)",
    )


class AttentionSettings(Settings):
    """Images of the attention figure."""

    images: int = Field(ge=1)
    layer: int = Field(ge=0)
    dtype: Precision = "auto"

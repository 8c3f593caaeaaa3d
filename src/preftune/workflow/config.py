"""The config file: one strict, typed schema. A scale is one self-contained file, so that no scale inherits another's."""

import difflib
import typing
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator

from preftune.errors import PreftuneError
from preftune.settings.alignment import AlignmentSettings
from preftune.settings.base import Settings
from preftune.settings.best_of import BestOfSettings
from preftune.settings.captioning import (
    AttentionSettings,
    CaptionDataSettings,
    CaptionEvaluationSettings,
    CaptioningSettings,
    CaptionMetricSettings,
    FeatureSettings,
)
from preftune.settings.data import (
    DatasetSettings,
    LanguageDataSettings,
    PreferenceMixSettings,
    SceneSettings,
    SftMixSettings,
)
from preftune.settings.evaluation import (
    DriftSettings,
    EvaluationOptions,
    GradientSettings,
    SecondOpinionSettings,
)
from preftune.settings.multitask import MultitaskEvaluationSettings, MultitaskSettings
from preftune.settings.pretraining import PretrainingSection
from preftune.settings.questions import QuestionSettings
from preftune.settings.reference import ReferenceOptions
from preftune.settings.sft import SftSettings
from preftune.settings.submission import SubmissionSettings


class CaptioningSection(CaptioningSettings):
    """Defaults of the captioning runs, and which encoder's features they read."""

    encoder: str = Field(description="a model of kind encoder in config/models.yaml")


class MultitaskRun(MultitaskSettings):
    """Defaults of the multi-task runs, and which encoder's features they read."""

    encoder: str = Field(description="a model of kind encoder in config/models.yaml")


class MultitaskSection(MultitaskRun):
    """The multi-task experiment: defaults of its runs, its questions and its evaluation."""

    questions: QuestionSettings
    evaluation: MultitaskEvaluationSettings


class AttentionSection(AttentionSettings):
    """The attention figure, and the run that it shows."""

    run: str


class EvaluationSection(EvaluationOptions):
    """Scoring, and the wording of its questions."""

    templates: str | None = Field(
        default=None, description="template set that questions are scored with (null: the one of training)"
    )


class DriftSection(DriftSettings):
    """What alignment does to the language model, and the runs that are measured."""

    runs: tuple[str, ...] = Field(strict=False, description="trained runs, in the order of the tables")


class BestOfSection(BestOfSettings):
    """The reward's choice among sampled answers, and the runs with a head that are measured."""

    runs: tuple[str, ...] = Field(strict=False, description="runs, in the order of the table")


class SecondOpinionSection(SecondOpinionSettings):
    """lm-eval's scores beside ours, and the runs that are compared, each by its first seed."""

    runs: tuple[str, ...] = Field(
        strict=False, description="runs; one that was not trained is the fetched model itself"
    )


class ScoringSection(Settings):
    """The DPH paper at a scale that trains nothing: what scoring needs."""

    model: str = Field(
        description="a model of kind language in config/models.yaml; by its size jobs are counted"
    )
    templates: str = Field(
        default="chat",
        description="template set of config/templates/ that words every question, or a .yaml of one's own",
    )
    datasets: DatasetSettings
    evaluation: EvaluationSection


class DphSection(ScoringSection):
    """The DPH paper at this scale."""

    sft_mix: SftMixSettings
    preference_mix: PreferenceMixSettings
    sft: SftSettings
    reference: ReferenceOptions = ReferenceOptions()
    alignment: AlignmentSettings
    drift: DriftSection
    best_of: BestOfSection
    gradients: GradientSettings
    second_opinion: SecondOpinionSection
    submission: SubmissionSettings


class ContextPeftSection(Settings):
    """The Context-PEFT paper at this scale."""

    model: str = Field(description="a model of kind language in config/models.yaml")
    pretraining: PretrainingSection | None = Field(
        default=None, description="how the model is pre-trained here; null: it is fetched"
    )
    captions: CaptionDataSettings
    features: FeatureSettings
    captioning: CaptioningSection
    evaluation: CaptionEvaluationSettings
    metrics: CaptionMetricSettings = CaptionMetricSettings()
    attention: AttentionSection
    multitask: MultitaskSection | None = Field(
        default=None, description="null: left out, where there are no questions about images"
    )

    @field_validator("pretraining", mode="before")
    @classmethod
    def _read_null(cls, value: Any) -> Any:
        """Snakemake's --config takes null for a word."""
        return None if value == "null" else value


class Selection(Settings):
    """A part of the results, chosen by name or glob (`make results PAPER=dph RUNS='dph-*' TABLES=glue SEEDS=1`)."""

    paper: Literal["dph", "context_peft"] | None = None
    runs: str | None = None
    tables: str | None = None
    seeds: int | None = Field(
        default=None,
        ge=1,
        strict=False,  # Snakemake reads what stands inside braces as words
        description="how many of each run's seeds, the first ones of its row (null: all)",
    )

    @property
    def whole(self) -> bool:
        """Whether everything is asked for, of however many seeds."""
        return self.paper is None and self.runs is None and self.tables is None


class Config(Settings):
    """One scale: what all have in common. The scale `released` has no more than this: it trains nothing."""

    scale: Literal["demo", "small-cpu", "small-gpu", "paper", "miniature", "released"]
    data: Literal["embedded", "local", "hub"] = Field(description="where the rows of both papers come from")
    data_root: str | None = Field(default=None, description="folder of raw rows that somebody placed by hand")
    local_datasets: tuple[str, ...] = Field(
        default=(), strict=False, description="data sets that stand in data_root, where data is hub"
    )
    results: str = Field(description="folder of everything that the workflow makes; no two scales share one")
    resources: str = Field(default="resources", description="folder of fetched and generated raw files")
    runs: str = Field(default="config/runs.tsv", description="the registry of runs")
    models: str = Field(default="config/models.yaml", description="the registry of models")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    gpus: int = Field(
        default=1, ge=1, description="GPUs of one training, all of one node; rounding alone depends on it"
    )
    steps_per_gpu: int = Field(
        default=1,
        ge=1,
        description="steps that share one GPU at a time, where a machine has one and steps are small",
    )
    threads: int = Field(ge=1, description="CPU threads of a training or scoring job; bytes depend on it")
    language_data: LanguageDataSettings | None = Field(default=None, description="size of the embedded rows")
    scenes: SceneSettings | None = Field(default=None, description="size of the embedded scenes")
    tolerance: float | None = Field(
        default=None,
        gt=0,
        description="how far a number may be from the published one, in the table's unit, whatever its interval (null: as its "
        "cell says, or within its interval)",
    )
    only: Selection = Selection()
    dph: ScoringSection
    context_peft: ContextPeftSection | None = None

    @property
    def training_gpus(self) -> int:
        """GPUs that a training asks for: none on a CPU, and none in the demo, which takes what is there."""
        return 0 if self.device == "cpu" or self.scale == "demo" else self.gpus


class TrainedConfig(Config):
    """A scale of both papers, with all that they train."""

    dph: DphSection
    context_peft: ContextPeftSection


def validate_config(raw: dict[str, Any], source: str) -> Config:
    """Check a raw config; the error names the key, its file and the nearest valid spelling."""
    schema = Config if raw.get("scale") == "released" else TrainedConfig
    config = validate(schema, raw, source)
    lacking = config.language_data is None or (config.context_peft is not None and config.scenes is None)
    if config.data == "embedded" and lacking:
        raise PreftuneError(
            f"{source}: data is embedded, so the keys language_data and scenes must give its size."
        )
    if config.data == "local" and not config.data_root:
        raise PreftuneError(
            f"{source}: data is local, so the key data_root must name a folder (--config data_root=FOLDER)."
        )
    if config.local_datasets and (config.data != "hub" or not config.data_root):
        raise PreftuneError(
            f"{source}: local_datasets names data sets that stand in data_root while all others are fetched: set data: hub and "
            "data_root to their folder."
        )
    if config.device == "cpu" and config.gpus > 1:
        raise PreftuneError(f"{source}: device is cpu, so the key gpus must be 1 (found {config.gpus}).")
    if config.gpus > 1 and config.steps_per_gpu > 1:
        raise PreftuneError(
            f"{source}: a training on {config.gpus} GPUs (key gpus) shares none of them: set steps_per_gpu to 1."
        )
    return config


M = typing.TypeVar("M", bound=BaseModel)


def validate(schema: type[M], raw: dict[str, Any], source: str) -> M:
    """Validate against a schema; the first fault becomes one sentence."""
    try:
        return schema.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            known = _keys_at(schema, first["loc"][:-1])
            raise PreftuneError(
                f"{source}: unknown key {key}{did_you_mean(str(first['loc'][-1]), known)}"
            ) from error
        if first["type"] == "missing":
            raise PreftuneError(
                f"{source}: the key {key} is missing: add it (see {schema.__name__})."
            ) from error
        message = first["msg"][0].lower() + first["msg"][1:]
        raise PreftuneError(f"{source}: key {key}: {message} (found {first['input']!r}).") from error


def did_you_mean(word: str, known: typing.Iterable[str]) -> str:
    """`: did you mean X?`, or the list of what is known."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return f": did you mean {near[0]}?" if near else f": known are {', '.join(names)}."


def _keys_at(schema: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Field names of the model that lies at `location` below `schema`."""
    for name in location:
        field = schema.model_fields.get(str(name))
        models = _model_types(field.annotation) if field else []
        if not models:
            return []
        schema = models[0]
    return list(schema.model_fields)


def _model_types(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in _model_types(part)]


def relative_to_root(path: str, root: Path) -> Path:
    """A config path as an absolute one."""
    return (root / Path(path).expanduser()).resolve()

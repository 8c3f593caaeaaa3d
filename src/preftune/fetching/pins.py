"""config/pins.json: revision, size and SHA-256 of the files of each source, as `python -m preftune pin` found them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from preftune.errors import PreftuneError
from preftune.files import read_json
from preftune.provenance.digest import ROOT
from preftune.settings.base import Settings
from preftune.settings.sources import Source

PINS = ROOT / "config/pins.json"


class FilePin(Settings):
    """What a file's bytes must be."""

    bytes: int | None = Field(ge=0)
    sha256: str | None = Field(pattern="^[0-9a-f]{64}$")


class RepoPin(Settings):
    """The commit of a hub repository at which it was pinned, and the files that are taken from it."""

    revision: str = Field(pattern="^[0-9a-f]{40}$")
    files: dict[str, FilePin]


class Pins(Settings):
    """The whole file. Repositories stand under `<type>s/<repo>@<revision of the registry>`, archives under their address."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=False)
    hub: dict[str, RepoPin] = Field(default_factory=dict)
    urls: dict[str, FilePin] = Field(default_factory=dict)
    wheels: dict[str, FilePin] = Field(default_factory=dict)

    def repo(self, source: Source, repo_type: str) -> RepoPin | None:
        """The pin of a source's repository, if it has one."""
        return self.hub.get(repo_key(repo_type, source.repo, source.revision))


def repo_key(repo_type: str, repo: str | None, revision: str | None) -> str:
    """The name of a repository in the file."""
    return f"{repo_type}s/{repo}@{revision or 'main'}"


def read_pins(path: Path = PINS) -> Pins:
    """Read the file; a missing one pins nothing."""
    if not path.is_file():
        return Pins()
    try:
        return TypeAdapter(Pins).validate_python(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        raise PreftuneError(
            f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}; restore it from git, or pin again (make pin)."
        ) from error


def describe_pins(source: Mapping[str, Any], repo_type: str, pins: Pins) -> dict[str, Any]:
    """What the pins say of a row's source (and of its tokenizer's), for the identity of the job that fetches it; empty where
    they say nothing. A wheel's hash stands in the row itself.
    """
    repos = [one for one in (source, source.get("tokenizer")) if one and one.get("repo")]
    keys = [repo_key(repo_type, one["repo"], one.get("revision")) for one in repos]
    urls = [archive["url"] for archive in source.get("archives", {}).values()]
    found: dict[str, Any] = {key: pins.hub[key].model_dump() for key in keys if key in pins.hub}
    return found | {url: pins.urls[url].model_dump() for url in urls if url in pins.urls}

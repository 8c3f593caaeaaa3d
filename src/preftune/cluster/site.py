"""What a cluster calls things: partitions, account, GPUs, modules, scratch folder; one small file of the site."""

import os
from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from preftune.errors import PreftuneError
from preftune.provenance.digest import ROOT


class Partitions(BaseModel):
    """Where steps with and without a GPU run."""

    model_config = ConfigDict(extra="forbid")
    cpu: str
    gpu: str


class Site(BaseModel):
    """`slurm/site.yaml`."""

    model_config = ConfigDict(extra="forbid")
    partitions: Partitions
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gpu_option: Literal["gpus", "gres"] = "gpus"
    gpu_model: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.-]+$")
    modules: list[str] = []
    scratch: str | None = None


def site_file() -> Path:
    """The site's file: `slurm/site.yaml`, or the one that `PREFTUNE_SITE` names."""
    return Path(os.environ.get("PREFTUNE_SITE", ROOT / "slurm" / "site.yaml"))


def read_site() -> Site:
    """Read the site's file; once as long as it is the same.

    Raises:
        PreftuneError: it is missing, is no YAML, or has a key that is not known.
    """
    path = site_file()
    if not path.is_file():
        raise PreftuneError(f"{path} does not exist: write it (docs/cluster.md, step 2).")
    return _parse(path, path.stat().st_mtime_ns)


@cache
def _parse(path: Path, changed: int) -> Site:
    try:
        return Site.model_validate(yaml.safe_load(path.read_text()))
    except yaml.YAMLError as error:
        raise PreftuneError(f"{path} is no valid YAML ({error}): correct it.") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "(the whole file)"
        raise PreftuneError(
            f"{path}: {key}: {first['msg']}; docs/cluster.md, step 2, lists its keys."
        ) from error


def scratch_folder() -> Path:
    """Where checkpoints, leases and other state of runs in progress lie, for every process of this checkout.

    `PREFTUNE_SCRATCH`, else the site's `scratch` with environment variables and `~` filled in, else scratch/ in the checkout.
    """
    told = os.environ.get("PREFTUNE_SCRATCH")
    if told is None and site_file().is_file():
        told = read_site().scratch
    return Path(os.path.expandvars(told)).expanduser() if told else ROOT / "scratch"

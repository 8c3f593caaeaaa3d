"""What a cluster is called by: partitions, account, GPU model, modules, scratch folder; one small file of the site."""

import os
from pathlib import Path

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
    gpu_model: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.]+$")
    modules: list[str] = []
    scratch: Path | None = None


def site_file() -> Path:
    """The site's file: `slurm/site.yaml`, or the one that `PREFTUNE_SITE` names."""
    return Path(os.environ.get("PREFTUNE_SITE", ROOT / "slurm" / "site.yaml"))


def read_site() -> Site:
    """Read the site's file.

    Raises:
        PreftuneError: it is missing, is no YAML, or has a key that is not known.
    """
    path = site_file()
    try:
        return Site.model_validate(yaml.safe_load(path.read_text()))
    except FileNotFoundError as error:
        raise PreftuneError(f"{path} does not exist: write it (docs/cluster.md, step 2).") from error
    except yaml.YAMLError as error:
        raise PreftuneError(f"{path} is no valid YAML ({error}): correct it.") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "(the whole file)"
        raise PreftuneError(
            f"{path}: {key}: {first['msg']}; docs/cluster.md, step 2, lists its keys."
        ) from error


def scratch_folder(site: Site) -> Path | None:
    """The site's scratch folder with environment variables and `~` filled in."""
    return None if site.scratch is None else Path(os.path.expandvars(site.scratch)).expanduser()

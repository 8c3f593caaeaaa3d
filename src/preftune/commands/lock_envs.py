"""`make lock-envs`: solve what envs/*.yaml take from conda-forge and write it with versions and builds to envs/conda.linux-64.txt.

No `<environment>.linux-64.pin.txt` is written: Snakemake would install from it instead of the yaml file and so leave out the
`pip:` section, which is nearly everything. Python and pip are all that the environments take from conda-forge, so one file
serves all: `conda create --prefix <folder> --channel conda-forge --file envs/conda.linux-64.txt` gives the same bytes later.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

from preftune.commands.lock import CONDA
from preftune.errors import PreftuneError
from preftune.files import atomic_write_text
from preftune.provenance.digest import ROOT

CLIENTS = ("micromamba", "mamba", "conda")
HEAD = "# What {specs} take from conda-forge on x86-64 Linux; written by `make lock-envs`.\n"


def solve() -> list[str]:
    """`name=version=build` of every conda package of the environments, as the first client that is on PATH solves them.

    Raises:
        PreftuneError: there is no client, or it could not solve them.
    """
    client = next((found for name in CLIENTS if (found := shutil.which(name))), None)
    if client is None:
        raise PreftuneError(
            "No conda client is on PATH: install micromamba, mamba or conda, then `make lock-envs`."
        )
    command = [client, "create", "--dry-run", "--json", "--yes", "--name", "preftune-lock"]
    command += ["--override-channels", "--channel", "conda-forge", *CONDA]
    done = subprocess.run(
        command, env=os.environ | {"CONDA_SUBDIR": "linux-64"}, capture_output=True, text=True, check=False
    )
    try:
        packages = json.loads(done.stdout)["actions"]["LINK"]
    except (ValueError, KeyError) as error:
        said = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
        raise PreftuneError(
            f"{client} could not solve {' '.join(CONDA)} on conda-forge ({said[-1]}): "
            "run `make lock-envs` where that channel can be reached."
        ) from error
    return sorted(f"{item['name']}={item['version']}={item['build_string']}" for item in packages)


def write_solved_packages() -> Path:
    """Write what `solve` gives to envs/conda.linux-64.txt."""
    path = ROOT / "envs" / "conda.linux-64.txt"
    lines = "".join(f"{line}\n" for line in solve())
    atomic_write_text(path, HEAD.format(specs=" and ".join(CONDA)) + lines)
    return path

"""The conda commands that Snakemake 9.27.1 calls for `--sdm conda`, done by py-rattler: solve, link, and the pip section.

No conda client lies on PyPI, and py-rattler, the library behind one, does. `PREFTUNE_CONDA_FORGE` is the URL of the channel
that stands for conda-forge. With `PREFTUNE_CONDA_COPY_FROM=<virtual environment>` the pip section is linked from there
instead of installed by pip: the same distributions and versions, in seconds instead of minutes.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import rattler  # noqa: E402
import yaml  # noqa: E402

from preftune.errors import PreftuneError  # noqa: E402
from tests.conda.linking import link_distributions  # noqa: E402

VERSION = "26.9.0"  # Snakemake asks for 24.7.1 or later
INFO = {"conda_prefix": str(Path(__file__).parent), "platform": "linux-64", "conda_version": VERSION}


def solve(channels: list[str], specs: list[str], cache: Path) -> list[rattler.RepoDataRecord]:
    """The packages that satisfy all specs.

    Raises:
        PreftuneError: a channel has none that do, or cannot be read.
    """
    local = os.environ.get("PREFTUNE_CONDA_FORGE", "conda-forge")
    sources = [local if name == "conda-forge" else name for name in channels if name != "nodefaults"]
    try:
        return asyncio.run(
            rattler.solve(
                sources,
                specs,
                gateway=rattler.Gateway(cache_dir=cache),
                platforms=["linux-64", "noarch"],
                virtual_packages=rattler.VirtualPackage.detect(),
            )
        )
    except Exception as error:
        why = " ".join(str(error).split())
        raise PreftuneError(f"{' '.join(specs)} cannot be solved on {' '.join(sources)}: {why}") from error


def create_environment(file: Path, prefix: Path) -> None:
    """Make the environment that a yaml file describes."""
    described = yaml.safe_load(file.read_text())
    specs = [item for item in described["dependencies"] if isinstance(item, str)]
    pins = [pin for item in described["dependencies"] if isinstance(item, dict) for pin in item["pip"]]
    with tempfile.TemporaryDirectory() as cache:
        records = solve(described["channels"], specs, Path(cache))
        asyncio.run(rattler.install(records, prefix, cache_dir=Path(cache), show_progress=False))
    source = os.environ.get("PREFTUNE_CONDA_COPY_FROM")
    if source:
        left_out = link_distributions(pins, Path(source).absolute(), prefix)
        print(
            f"linked from {source}; left out, since its torch is built for the CPU: {left_out or 'nothing'}"
        )
    elif pins:
        command = [prefix / "bin/python", "-m", "pip", "install", "--quiet", "--no-input", *pins]
        if subprocess.run(command, check=False).returncode:
            raise PreftuneError(f"pip could not install the pip section of {file}: see above.")


def list_packages(channels: list[str], specs: list[str]) -> dict[str, object]:
    """What `conda create --dry-run --json` says."""
    with tempfile.TemporaryDirectory() as cache:
        records = solve(channels, specs, Path(cache))
    packages = [
        {"name": item.name.source, "version": str(item.version), "build_string": str(item.build)}
        for item in records
    ]
    return {"success": True, "dry_run": True, "actions": {"LINK": packages}}


def main(words: list[str]) -> int:
    """Run one command; errors are one sentence and exit code 1."""
    if words == ["--version"]:
        print(f"conda {VERSION}")
    elif words == ["info", "--json"]:
        print(json.dumps(INFO))
    elif words == ["config", "--get", "channel_priority", "--json"]:
        print(json.dumps({"get": {"channel_priority": "strict"}}))
    elif words[:2] == ["clean", "-y"]:
        pass  # no package is kept
    elif words[:2] == ["env", "create"]:
        parser = argparse.ArgumentParser()
        parser.add_argument("--file", type=Path, required=True)
        parser.add_argument("--prefix", type=Path, required=True)
        parser.add_argument("--quiet", action="store_true")
        parser.add_argument("--no-default-packages", action="store_true")
        arguments = parser.parse_args(words[2:])
        create_environment(arguments.file, arguments.prefix.absolute())
    elif words[:3] == ["create", "--dry-run", "--json"]:
        parser = argparse.ArgumentParser()
        parser.add_argument("--channel", action="append", required=True)
        parser.add_argument("--name")
        parser.add_argument("--yes", action="store_true")
        parser.add_argument("--override-channels", action="store_true")
        parser.add_argument("specs", nargs="+")
        arguments = parser.parse_args(words[3:])
        print(json.dumps(list_packages(arguments.channel, arguments.specs)))
    else:
        raise PreftuneError(
            f"conda {' '.join(words)}: this client for tests knows only the commands that Snakemake calls."
        )
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except PreftuneError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)

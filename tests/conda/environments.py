"""One virtual environment for each envs/*.yaml, with exactly its packages."""

import subprocess
import sys
from pathlib import Path

import yaml

from tests.conda.linking import link_distributions
from tests.conda.rules import ROOT


def pins_of(name: str) -> list[str]:
    """What the pip section of an environment lists."""
    dependencies = yaml.safe_load((ROOT / f"envs/{name}.yaml").read_text())["dependencies"]
    return [pin for item in dependencies if isinstance(item, dict) for pin in item["pip"]]


def build_environment(name: str, folder: Path) -> None:
    """Make the environment `folder/<name>`, without pip."""
    target = folder / name
    subprocess.run([Path(sys.executable).resolve(), "-m", "venv", "--without-pip", target], check=True)
    link_distributions(pins_of(name), Path(sys.prefix), target)

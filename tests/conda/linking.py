"""Distributions of one virtual environment linked into another: an environment in seconds, without an index."""

import os
import shutil
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from preftune.errors import PreftuneError
from tests.conda.rules import ROOT

CUDA = ROOT / "requirements-cuda.txt"


def link_distributions(pins: Iterable[str], source: Path, target: Path) -> list[str]:
    """Link every file that the pinned distributions list in their RECORD from the environment `source` into `target`.

    Returns the pins that were left out: where `source` holds torch's CPU build, all that its CUDA build adds.

    Raises:
        PreftuneError: a distribution is missing in `source`, or has another version there.
    """
    found = metadata.distributions(path=[str(packages_of(source))])
    known = {_name(item.metadata["Name"]): item for item in found}
    cuda = CUDA.read_text().splitlines()[1:]
    left_out = [] if any(_name(pin) in known for pin in cuda) else cuda
    wanted = [pin for pin in pins if pin not in left_out]
    for pin in wanted:
        item = known.get(_name(pin))
        version = Version(item.version).public if item else "missing"
        if not item or not Requirement(pin).specifier.contains(version):
            raise PreftuneError(
                f"{pin} is asked for, and in {source} it is {version}: run `make test`, which installs what is locked."
            )
        for path in item.files or []:
            _link(Path(os.path.normpath(path.locate())), source, target)
    return sorted(set(pins) - set(wanted))


def packages_of(environment: Path) -> Path:
    """The site-packages folder of an environment."""
    return environment / "lib/python3.11/site-packages"


def _name(requirement: str) -> str:
    return str(canonicalize_name(Requirement(requirement).name))


def _link(file: Path, source: Path, target: Path) -> None:
    """A hard link, or a copy on another disk; a console script is written anew, since it names its Python."""
    if not file.exists():  # a RECORD may list byte code that was never written
        return
    new = target / file.relative_to(source)
    new.parent.mkdir(parents=True, exist_ok=True)
    if file.parent == source / "bin":
        python = b"%s/bin/python"
        new.write_bytes(file.read_bytes().replace(python % bytes(source), python % bytes(target)))
        shutil.copymode(file, new)
        return
    try:
        os.link(file, new)
    except OSError:
        shutil.copy2(file, new)

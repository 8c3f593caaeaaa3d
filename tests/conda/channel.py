"""A conda channel in a folder, with what envs/*.yaml take from conda-forge: python and pip, under the versions they ask for.

The package `python` is a virtual environment's: its bin/python is this machine's interpreter, found through pyvenv.cfg.
The package `pip` holds the pip that this interpreter brings along, whatever its version.
"""

import asyncio
import ensurepip
import hashlib
import io
import json
import sys
import tarfile
import zipfile
from pathlib import Path

from rattler.index import index_fs

from preftune.commands.lock import PIP

VERSION = ".".join(map(str, sys.version_info[:3]))
SITE = "lib/python3.11/site-packages"


def build_channel(folder: Path) -> str:
    """Write the channel into `folder`; returns its URL."""
    interpreter = Path(sys.executable).resolve()
    settings = f"home = {interpreter.parent}\ninclude-system-site-packages = false\nversion = {VERSION}\n"
    links = {"bin/python": str(interpreter), "bin/python3": "python", "bin/python3.11": "python"}
    _write_package(folder, "python", VERSION, [], {"pyvenv.cfg": settings.encode()}, links)
    _write_package(folder, "pip", PIP, ["python"], _pip_files(), {})
    asyncio.run(index_fs(folder))
    return folder.resolve().as_uri()


def _pip_files() -> dict[str, bytes]:
    (wheel,) = (Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = (name for name in archive.namelist() if not name.endswith("/"))
        return {f"{SITE}/{name}": archive.read(name) for name in names}


def _write_package(
    channel: Path, name: str, version: str, depends: list[str], files: dict[str, bytes], links: dict[str, str]
) -> None:
    """A package of the old format: a tar file with what it installs and, in info/, what it is."""
    index = {"name": name, "version": version, "build": "local_0", "build_number": 0, "depends": depends,
             "arch": "x86_64", "platform": "linux", "subdir": "linux-64"}  # fmt: skip
    paths = [
        {"_path": path, "path_type": kind, "sha256": hashlib.sha256(data).hexdigest(), "size_in_bytes": len(data)}
        for kind, known in (("hardlink", files), ("softlink", dict.fromkeys(links, b"")))
        for path, data in known.items()
    ]  # fmt: skip
    facts = {"index.json": index, "paths.json": {"paths": paths, "paths_version": 1}, "about.json": {}}
    (channel / "linux-64").mkdir(parents=True, exist_ok=True)
    with tarfile.open(channel / "linux-64" / f"{name}-{version}-local_0.tar.bz2", "w:bz2") as archive:
        described = {f"info/{file}": json.dumps(value).encode() for file, value in facts.items()}
        described["info/files"] = "".join(f"{path}\n" for path in [*files, *links]).encode()
        for path, data in (described | files).items():
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        for path, target in links.items():
            entry = tarfile.TarInfo(path)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)

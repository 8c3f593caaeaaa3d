"""Official archives: files at fixed addresses, with mirrors, from which some members are taken."""

import shutil
from pathlib import Path
from typing import Any

from preftune.errors import PreftuneError
from preftune.fetching.archives import find_damage, unpack
from preftune.fetching.downloads import Refused, download
from preftune.fetching.patience import Patience
from preftune.fetching.pins import FilePin, Pins
from preftune.fetching.remedies import place_by_hand
from preftune.fetching.remote import RemoteFile
from preftune.files import sha256_file
from preftune.settings.sources import Archive, Source


def fetch_archives(
    source: Source, scratch: Path, pins: Pins, patience: Patience
) -> tuple[Path, dict[str, Any]]:
    """Fetch every archive of a source; returns the folder of links to them, and their bytes and SHA-256 for the record."""
    folder, facts = scratch / "archives", {}
    for name, archive in source.archives.items():
        file = describe_archive(archive, pins)
        try:
            check = find_damage if archive.take else _find_nothing
            fetched = download(file, scratch / "parts", patience, check=check)
        except Refused as error:
            raise PreftuneError(
                f"{source.name}: {error}: check the network (HTTPS_PROXY) and run again, what has come is kept; or "
                f"{place_by_hand(source)}."
            ) from error
        place_link(folder / name / file.name, fetched)
        facts[archive.url] = {"bytes": fetched.stat().st_size, "sha256": file.sha256 or sha256_file(fetched)}
    pinned = all(archive.url in pins.urls for archive in source.archives.values())
    return folder, {"pinned": pinned, "files": facts}


def place_link(link: Path, file: Path) -> None:
    """Let `link` stand for a fetched file, which stays where a later fetch finds it."""
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(file.resolve())


def describe_archive(archive: Archive, pins: Pins) -> RemoteFile:
    """An archive's file: what its row says of its bytes, and what the pins say."""
    pin = pins.urls.get(archive.url, FilePin(bytes=None, sha256=None))
    for own, pinned in ((archive.bytes, pin.bytes), (archive.sha256, pin.sha256)):
        if own is not None and pinned is not None and own != pinned:
            raise PreftuneError(
                f"{archive.url}: its row in config/datasets.yaml says {own}, config/pins.json {pinned}: review the file, "
                "correct the row and pin again (make pin)."
            )
    urls = (archive.url, *archive.mirrors)
    return RemoteFile(urls, archive.bytes or pin.bytes, archive.sha256 or pin.sha256, archive.md5)


def _find_nothing(path: Path) -> str:
    return ""


def arrange_archives(source: Source, folder: Path, output: Path) -> None:
    """Bring the archives of `folder` into the raw layout: each row's members, or the file itself, to where the row says."""
    output.mkdir(parents=True, exist_ok=True)
    for name, archive in source.archives.items():
        (fetched,) = (folder / name).iterdir()
        if not archive.take:
            target = output / str(archive.place)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(fetched, target)
            continue
        try:
            unpack(fetched, archive.take, output, archive.unpacked)
        except PreftuneError:
            fetched.resolve().unlink()  # the next fetch must not find it again
            raise

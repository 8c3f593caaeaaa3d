"""`preftune pin`: ask the hub, the servers of the archives and the package registry what is there now, and write it down."""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import requests

from preftune.errors import PreftuneError
from preftune.fetching.hub import list_repository
from preftune.fetching.official import describe_archive
from preftune.fetching.patience import Patience
from preftune.fetching.pins import PINS, FilePin, Pins, RepoPin, read_pins, repo_key
from preftune.fetching.remote import public_url
from preftune.fetching.wheels import check_hash, download_wheel
from preftune.files import read_json, write_json
from preftune.names import nearest
from preftune.progress import track
from preftune.provenance.digest import ROOT
from preftune.settings.sources import DatasetSource, ModelSource, Source
from preftune.workflow.registry import read_yaml

_FETCHED = ("hub", "urls", "pypi")
_HEADER = ("name", "source", "files", "bytes", "revision")


def write_pins(names: Iterable[str], resources: Path, path: Path = PINS) -> tuple[str, list[str]]:
    """Pin the sources of some models and data sets (none named: of all).

    Returns:
        A table of what was written, and the names of the sources that could not be asked for, which keep the pins they had; the
        table says why.
    """
    chosen, pins = list_sources(names), read_pins(path)
    rows, failed, silent = [], [], set[str]()
    with tempfile.TemporaryDirectory() as scratch:
        for source, repo_type in track(chosen, "sources", unit="source"):
            try:
                if source.kind in silent:
                    raise PreftuneError("not asked, since the network failed for one of its kind before.")
                rows.append(_pin(source, repo_type, pins, Path(scratch) / source.name, resources))
            except PreftuneError as error:
                rows.append((source.name, source.kind, "", "", f"not pinned: {error}"))
                failed.append(source.name)
                # Without a network each source would be tried for minutes.
                if "check the network" in str(error):
                    silent.add(source.kind)
    write_json(path, pins.model_dump())
    return _format(rows), failed


def list_sources(names: Iterable[str]) -> list[tuple[Source, str]]:
    """The sources of both registries that are fetched, and the type of their repositories; an unknown name is an error."""
    found: list[tuple[Source, str]] = []
    for name, entry in read_yaml(ROOT / "config/models.yaml").items():
        if entry["source"]["kind"] in _FETCHED:
            found.append((ModelSource.model_validate({"name": name, **entry["source"]}), "model"))
    for name, entry in read_yaml(ROOT / "config/datasets.yaml").items():
        for kind in _FETCHED:
            if kind in entry["sources"]:
                fields = {
                    "name": name,
                    "kind": kind,
                    "files": entry["sources"]["files"],
                    **entry["sources"][kind],
                }
                found.append((DatasetSource.model_validate(fields), "dataset"))
    known, wanted = {source.name for source, _ in found}, set(names)
    for name in sorted(wanted - known):
        raise PreftuneError(f"{name} is no model or data set that is fetched: {nearest(name, known)}.")
    return [pair for pair in found if not wanted or pair[0].name in wanted]


def _pin(source: Source, repo_type: str, pins: Pins, scratch: Path, resources: Path) -> tuple[str, ...]:
    if source.kind == "hub":
        return _pin_repository(source, repo_type, pins, scratch)
    return (
        _pin_archives(source, pins, resources) if source.kind == "urls" else _pin_wheel(source, pins, scratch)
    )


def _pin_repository(source: Source, repo_type: str, pins: Pins, scratch: Path) -> tuple[str, ...]:
    """Every needed file at the commit that the registry's revision is now; several data sets may share a repository."""
    commit, files = list_repository(source, repo_type, scratch, Patience())
    key = repo_key(repo_type, source.repo, source.revision)
    former = pins.hub.get(key)
    others = former.files if former and former.revision == commit else {}
    found = {name: FilePin(bytes=size, sha256=sha256) for name, (size, sha256) in files.items()}
    pins.hub[key] = RepoPin(revision=commit, files=others | found)
    return _row(source, found.values(), commit)


def _pin_archives(source: Source, pins: Pins, resources: Path) -> tuple[str, ...]:
    """Sizes by the servers; hashes by the record of a finished fetch or by the last pin, since only the whole archive has one.
    Neither stands in the way of another file that is there now.
    """
    record = resources / "data/hub" / source.name / "run.json"
    fetched: dict[str, Any] = read_json(record)["facts"].get("files", {}) if record.is_file() else {}
    found = []
    for url, archive in ((archive.url, archive) for archive in source.archives.values()):
        row = describe_archive(archive, Pins())
        size = row.bytes or _ask_size(url)
        known = [FilePin(**fetched[url])] if url in fetched else []
        known += [pins.urls[url]] if url in pins.urls else []
        same = (one for one in known if size in (None, one.bytes) and row.sha256 in (None, one.sha256))
        pins.urls[url] = next(same, FilePin(bytes=size, sha256=row.sha256))
        found.append(pins.urls[url])
    return _row(source, found, "")


def _ask_size(url: str) -> int | None:
    try:
        with requests.head(
            url, headers={"Accept-Encoding": "identity"}, allow_redirects=True, timeout=20
        ) as answer:
            answer.raise_for_status()
            return int(answer.headers["Content-Length"]) if "Content-Length" in answer.headers else None
    except requests.RequestException as error:
        raise PreftuneError(
            f"{public_url(url)} does not answer ({type(error).__name__}): check the network."
        ) from error


def _pin_wheel(source: Source, pins: Pins, scratch: Path) -> tuple[str, ...]:
    wheel = download_wheel(source, scratch)
    check_hash(wheel, source.wheel_sha256, f"the wheel of {source.package} {source.version}")
    pin = FilePin(bytes=wheel.stat().st_size, sha256=source.wheel_sha256)
    pins.wheels[f"{source.package}=={source.version}"] = pin
    return _row(source, [pin], "")


def _row(source: Source, files: Iterable[FilePin], revision: str) -> tuple[str, ...]:
    sizes = [file.bytes for file in files]
    total = "unknown" if None in sizes else f"{sum(size or 0 for size in sizes):,}"
    return source.name, source.kind, str(len(sizes)), total, revision


def _format(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in [_HEADER, *rows]) for column in range(len(_HEADER) - 1)]
    lines = (
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]])
        for row in [_HEADER, *rows]
    )
    return "\n".join(line.rstrip() for line in lines)

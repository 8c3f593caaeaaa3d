"""Whether what lies there is what was made: bytes of outputs, links from inputs to the steps that made them."""

import hashlib
from collections.abc import Iterator
from typing import Any

from preftune.errors import PreftuneError
from preftune.files import sha256_lines
from preftune.provenance.digest import ROOT
from preftune.provenance.hashes import Hashes
from preftune.provenance.records import Fault, Record, Store, record_names

SHORT = 12
"""Hex digits of a hash that sentences show."""


def check_outputs(store: Store, hashes: Hashes, published: bool) -> Iterator[Fault]:
    """Every output against the hash that its record states; each file of a folder by name."""
    yield from _check_records(store)
    for name, record in store.makers.items():
        output = next(output for output in record.outputs() if output["path"] == name)
        path = store.locate(name)
        if path.is_symlink():
            yield _linked(store, name)
        elif not path.exists() or (published and path.is_dir()):
            yield from _check_published(store, hashes, output) if published else [_missing(store, name)]
        elif path.is_dir():
            yield from _check_folder(store, hashes, output)
        elif hashes.file(path) != output["sha256"]:
            yield _changed(store, name)


def _check_records(store: Store) -> Iterator[Fault]:
    """A step leaves its record beside each of its outputs."""
    unreadable = {fault.place for fault in store.faults}
    for step in store.steps:
        for output in step.outputs():
            name = output["path"]
            if name not in store.makers and unreadable.isdisjoint(record_names(name)):
                place = record_names(name)[not store.locate(name).is_dir()]
                yield Fault(
                    "missing",
                    place,
                    f"{place} is gone: nothing tells how {name} was made.",
                    store.remake(name),
                )


def _check_folder(store: Store, hashes: Hashes, output: dict[str, Any]) -> Iterator[Fault]:
    name, stated = output["path"], output["files"]
    folder = store.locate(name)
    try:
        found = hashes.files(folder)
    except OSError as error:
        raise PreftuneError(f"{name} cannot be read ({error.strerror}): mend its permissions.") from error
    for file in sorted(stated.keys() | found.keys()):
        place = f"{name}/{file}"
        if (folder / file).is_symlink():
            yield _linked(store, place)
        elif file not in found:
            yield _missing(store, place)
        elif file not in stated:
            says = (
                f"{place} was not written by the step that made {name}: take it away, or make {name} again."
            )
            yield Fault("broken", place, says, store.remake(name))
        elif stated[file] != found[file]:
            yield _changed(store, place)


def _check_published(store: Store, hashes: Hashes, output: dict[str, Any]) -> Iterator[Fault]:
    """Of a published folder what is there; weights and rows are not."""
    name = output["path"]
    for file, stated in (output["files"] or {"": output["sha256"]}).items():
        place = f"{name}/{file}".rstrip("/")
        path = store.locate(place)
        if not path.is_file():
            yield Fault(
                "absent", place, f"{place} is not present here: it was not published, so it is not verified."
            )
        elif hashes.file(path) != stated:
            yield _changed(store, place)


def _linked(store: Store, name: str) -> Fault:
    says = f"{name} is a link to another place, where its bytes can change unseen: put the file itself there."
    return Fault("broken", name, says, store.remake(name))


def _missing(store: Store, name: str) -> Fault:
    return Fault("missing", name, f"{name} is gone; its record is still there.", store.remake(name))


def _changed(store: Store, name: str) -> Fault:
    says = f"{name} holds other bytes than its record states: it was changed after it was made."
    return Fault("broken", name, says, store.remake(name))


def check_links(store: Store, hashes: Hashes, published: bool) -> Iterator[Fault]:
    """Every input of every record against the step that made it, or against the file where no step did."""
    for record in store.steps:
        for item in record.inputs():
            yield from _check_link(store, hashes, record, item, published)


def _contents(output: dict[str, Any]) -> tuple[str, ...]:
    """The hashes by which a later step may name an output: records of version 1 counted Snakemake's empty time stamp."""
    with_stamp = {".snakemake_timestamp": hashlib.sha256().hexdigest(), **output["files"]}
    return output["sha256"], sha256_lines(dict(sorted(with_stamp.items())))


def _check_link(
    store: Store, hashes: Hashes, record: Record, item: dict[str, Any], published: bool
) -> Iterator[Fault]:
    name = item["path"]
    made = next(iter(record.outputs()))["path"]
    maker, path = store.makers.get(name), store.locate(name)
    if name.startswith("external:"):
        yield Fault(
            "note",
            name,
            f"{made} was made from {name} outside the checkout: it cannot be followed from here.",
        )
    elif maker is not None:
        stated = next(output for output in maker.outputs() if output["path"] == name)
        if item["sha256"] not in _contents(stated):
            says = (
                f"{made} was made from another {name} (content {item['sha256'][:SHORT]}) than is there now "
                f"({stated['sha256'][:SHORT]})."
            )
            yield Fault("broken", made, says, store.remake(made))
        elif item["record_sha256"] != hashes.file(maker.path):
            place = maker.name
            says = (
                f"{place} is not the record that {made} was made with: it was edited, or its step ran again."
            )
            yield Fault("broken", place, says, store.remake(name))
    elif not path.exists():
        if published:
            yield Fault(
                "absent", name, f"{name}, an input of {made}, is not present here, so it is not verified."
            )
        else:
            yield Fault("missing", name, f"{name}, an input of {made}, is gone.", store.remake(made))
    elif not (published and path.is_dir()) and hashes.tree(path) != item["sha256"]:
        if path.is_relative_to(ROOT) and not name.startswith(("resources/", f"{store.prefix}/")):
            says = f"{name} has changed since {made} was made from it."
            yield Fault("stale", made, says, store.remake(made))
        else:
            says = f"{name} holds other bytes than {made} was made from."
            yield Fault("broken", name, says, store.remake(made))

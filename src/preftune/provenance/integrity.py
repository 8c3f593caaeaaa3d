"""Whether what lies there is what was made: bytes of outputs, links from inputs to the steps that made them."""

import hashlib
from collections.abc import Iterator
from typing import Any

from preftune.files import sha256_lines
from preftune.provenance.hashes import Hashes
from preftune.provenance.records import PAPERS, Fault, Record, record_names
from preftune.provenance.store import Store

SHORT = 12
"""Hex digits of a hash that sentences show."""
LARGE = ("models", "data", "features", "reference", "captions", "attention", "submission", "figures")
"""Folders of a paper that a published copy holds in part: weights, rows, images and vector graphics stay away."""
STATES = ".safetensors"
"""Hidden states beside scores, which are large too."""
WATCHED = ("tables", "figures")
"""Folders of a paper in which every file is an output."""


def check_outputs(store: Store, hashes: Hashes, published: bool) -> Iterator[Fault]:
    """Every output against the hash that its record states; each file of a folder by name; and nothing beside them."""
    yield from _check_records(store)
    for name in store.makers:
        output, path = store.output(name), store.locate(name)
        if path.is_symlink():
            yield _linked(store, name)
        elif not path.exists() and not output["files"]:
            yield _missing(store, name, published)
        elif output["files"]:
            yield from _check_folder(store, hashes, output, published)
        elif hashes.tree(path) != output["sha256"]:
            yield _changed(store, name)
    yield from _check_strangers(store)


def _check_records(store: Store) -> Iterator[Fault]:
    """A step leaves its record, the same one, beside each of its outputs."""
    unreadable = {fault.place for fault in store.faults}
    for step in store.steps:
        for output in step.outputs():
            name = output["path"]
            place = record_names(name)[not store.locate(name).is_dir()]
            if name not in store.makers and unreadable.isdisjoint(record_names(name)):
                yield Fault(
                    "missing",
                    place,
                    f"{place} is gone: nothing tells how {name} was made.",
                    store.remake(name),
                )
            elif name in store.makers and store.makers[name] is not step:
                says = f"{place} is not the record that the step left beside its other outputs, {step.made} among them."
                yield Fault("broken", place, says, store.remake(name))


def _check_folder(store: Store, hashes: Hashes, output: dict[str, Any], published: bool) -> Iterator[Fault]:
    name, stated = output["path"], output["files"]
    folder = store.locate(name)
    found = hashes.files(folder)
    for file in sorted(stated.keys() | found.keys()):
        place = f"{name}/{file}"
        if (folder / file).is_symlink():
            yield _linked(store, place)
        elif file not in found:
            yield _missing(store, place, published)
        elif file not in stated:
            yield _strange(store, place)
        elif stated[file] != found[file]:
            yield _changed(store, place)


def _check_strangers(store: Store) -> Iterator[Fault]:
    """Files beside tables and figures that no step wrote."""
    told = {output["path"] for step in store.steps for output in step.outputs()}
    unreadable = {fault.place for fault in store.faults}
    for folder in (store.folder / paper / part for paper in PAPERS for part in WATCHED):
        for path in sorted(folder.glob("*")):
            name = store.public(path)
            own = path.name.startswith(".") or path.name.endswith("run.json")
            if not own and name not in told and unreadable.isdisjoint(record_names(name)):
                yield _strange(store, name)


def _linked(store: Store, name: str) -> Fault:
    says = f"{name} is a link to another place, where its bytes can change unseen: put the file itself there."
    return Fault("broken", name, says, store.remake(name))


def _strange(store: Store, name: str) -> Fault:
    says = f"{name} was not written by a step: take it away."
    return Fault("broken", name, says, f"rm {store.locate(name)}")


def _missing(store: Store, name: str, published: bool) -> Fault:
    parts = name.removeprefix(f"{store.prefix}/").split("/")
    if published and (parts[0] not in PAPERS or parts[1] in LARGE or name.endswith(STATES)):
        return Fault(
            "absent", name, f"{name} is not present here: it was not published, so it is not verified."
        )
    return Fault("missing", name, f"{name} is gone; its record is still there.", store.remake(name))


def _changed(store: Store, name: str) -> Fault:
    says = f"{name} holds other bytes than its record states: it was changed after it was made."
    return Fault("broken", name, says, store.remake(name))


def check_links(store: Store, hashes: Hashes, published: bool) -> Iterator[tuple[Record, str, Fault]]:
    """Every input of every record against the step that made it, or against the file where no step did.

    Returns:
        The step that read the input, the input's path, and what is wrong with the link between them.
    """
    agreed = {
        item["path"]
        for record in store.steps
        for item in record.inputs()
        if item["path"] in store.makers and item["sha256"] in _contents(store.output(item["path"]))
    }
    for record in store.steps:
        for item in record.inputs():
            for fault in _check_link(store, hashes, record, item, published, agreed):
                yield record, item["path"], fault


def _contents(output: dict[str, Any]) -> tuple[str, ...]:
    """The hashes by which a later step may name an output: records of version 1 counted Snakemake's empty time stamp."""
    with_stamp = {".snakemake_timestamp": hashlib.sha256().hexdigest(), **output["files"]}
    return output["sha256"], sha256_lines(dict(sorted(with_stamp.items())))


def _check_link(
    store: Store, hashes: Hashes, record: Record, item: dict[str, Any], published: bool, agreed: set[str]
) -> Iterator[Fault]:
    name, made = item["path"], record.made
    maker, path = store.makers.get(name), store.locate(name)
    inside = name.startswith(("resources/", f"{store.prefix}/"))
    if name.startswith("external:"):
        says = f"{made} was made from {name} outside the checkout: it cannot be followed from here."
        yield Fault("note", made, says)
    elif maker is not None:
        yield from _check_maker(store, hashes, record, item, maker, agreed)
    elif name in store.records:  # it carries its own hash, so that it can only have been made anew
        if hashes.file(path) != item["sha256"]:
            yield Fault("note", made, f"the step of {name} ran again since {made} was made from its record.")
    elif not inside:
        # Registries, templates and pages: what of them counts is a part of the identity, which the plan compares.
        if not path.exists() or hashes.tree(path) != item["sha256"]:
            yield Fault("note", made, f"{name} has changed since {made} was made from it.")
    elif published and (
        not path.exists()
        or not name.startswith(f"{store.prefix}/")
        # A folder of several steps' outputs, some of which stay away; those that are there are checked one by one.
        or (path.is_dir() and hashes.tree(path) != item["sha256"])
    ):
        yield Fault(
            "absent", name, f"{name}, an input of {made}, is not present here, so it is not verified."
        )
    elif not path.exists():
        yield Fault("missing", name, f"{name}, an input of {made}, is gone.", store.remake(name))
    elif hashes.tree(path) != item["sha256"]:
        yield Fault(
            "broken", name, f"{name} holds other bytes than {made} was made from.", store.remake(name)
        )


def _check_maker(
    store: Store, hashes: Hashes, record: Record, item: dict[str, Any], maker: Record, agreed: set[str]
) -> Iterator[Fault]:
    name, made = item["path"], record.made
    stated = store.output(name)
    if item["sha256"] not in _contents(stated):
        says = (
            f"{made} was made from another {name} (content {item['sha256'][:SHORT]}) than is there now "
            f"({stated['sha256'][:SHORT]})."
        )
        # Where other steps read what is there now, this one is the odd one out; else what they read is.
        odd = made if name in agreed else name
        yield Fault("broken", odd, says, store.remake(odd))
    elif item["record_sha256"] != hashes.file(maker.path):
        place = maker.name
        # A step that ran again with the same outcome leaves a new record; an edited one of version 2 betrays itself.
        again = "sha256" in maker.facts
        says = f"{place} is not the record that {made} was made with: its step ran again{'' if again else ', or it was edited'}."
        yield Fault("note" if again else "broken", place, says, "" if again else store.remake(made))

"""A published number beside what was made again: its table computed from the new scores; what differs in bytes, code, machine."""

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from preftune.errors import PreftuneError
from preftune.files import sha256_file
from preftune.provenance.digest import ROOT, WAIVERS, present_digest
from preftune.provenance.printed import Printed, read_printed
from preftune.provenance.recompute import relocate, run_again
from preftune.provenance.records import Record, read_record, record_names
from preftune.provenance.store import Store
from preftune.provenance.waivers import canonical_digest, read_waivers


def find_output(store: Store, file: str) -> tuple[Record, str]:
    """The step behind a score file, and the output of it that the file is, lies in, or is the record of.

    Raises:
        PreftuneError: no record tells.
    """
    record = store.records.get(file) or store.maker(file)
    if record is not None:
        for output in record.outputs():
            name = output["path"]
            if file == name or file.startswith(f"{name}/") or file in record_names(name):
                return record, name
    raise PreftuneError(f"{file} has no record in {store.folder}: nothing says how to make it again.")


def list_chain(store: Store, printed: Printed) -> list[Record]:
    """Every published step that a number rests on, the earliest first."""
    return store.upstream([find_output(store, file)[1] for file in printed.score_files])


def list_items(store: Store, printed: Printed) -> list[str]:
    """The files of a number's scores, each with that of its single items; a record stands for the outputs that it describes."""
    names: list[str] = []
    for file in printed.score_files:
        _, output = find_output(store, file)
        items = f"{Path(file).with_suffix('').as_posix()}.parquet"
        if file in record_names(output):
            names.append(output)
        else:
            names += [file, *([items] if file.endswith(".json") and store.locate(items).is_file() else [])]
    return list(dict.fromkeys(names))


def compute_again(store: Store, printed: Printed, results: Path) -> Printed:
    """The number by its table's own command line, with all that it rests on as it is in `results`, the rest as published.

    Raises:
        PreftuneError: a score file is not there or not what its step wrote; or the table cannot be computed, or has no such cell.
    """
    for name in list_items(store, printed):
        _check_whole(store, name, results)
    record = store.maker(printed.file)
    if record is None:
        raise PreftuneError(f"{printed.file} has no record in {store.folder}: publish its table again.")
    made = [output["path"] for one in list_chain(store, printed) for output in one.outputs()]
    with tempfile.TemporaryDirectory() as scratch:
        mixed = replace(store, folder=Path(scratch, "results"))
        link_files(store, mixed.folder, results, made)
        outputs = {output["path"]: Path(scratch, Path(output["path"]).name) for output in record.outputs()}
        words = relocate(mixed, _without_absent(mixed, record, outputs), outputs)
        if problem := run_again(record.rule, words).replace(str(mixed.folder), store.prefix):
            now = record.facts["code"]["digest"] == present_digest(record.rule)
            other = "" if now else f" The present code of {record.rule} is not that of the publication."
            raise PreftuneError(
                f"{record.made} cannot be computed with what was made again: {problem.rstrip('.')}.{other}"
            )
        return read_printed(outputs[printed.file], printed.file, printed.row, printed.column)


def _check_whole(store: Store, name: str, results: Path) -> None:
    """Raise PreftuneError unless a score file is there, as the record beside it says that it was written."""
    output = find_output(store, name)[1]
    path, record = _place_in(store, name, results), _record_here(store, output, results)
    if record is None or not path.exists():
        raise PreftuneError(f"{path} is not there with its record: the workflow did not make it.")
    stated = {str(one["sha256"]) for one in record.outputs()}
    stated |= {digest for one in record.outputs() for digest in one["files"].values()}
    if path.is_file() and sha256_file(path) not in stated:
        raise PreftuneError(
            f"{path} is not what its step wrote, it was changed by hand or damaged: delete {_place_in(store, output, results)} "
            "and call this again."
        )


def _without_absent(store: Store, record: Record, outputs: Iterable[str]) -> Record:
    """The record with a command line that leaves out what was not published, of which other cells of the table are made."""
    words = [
        word
        for word in record.facts["command"]
        if word in outputs or not word.startswith(f"{store.prefix}/") or store.locate(word).exists()
    ]
    return replace(record, facts={**record.facts, "command": words})


def link_files(store: Store, folder: Path, results: Path, made: Iterable[str]) -> None:
    """Fill `folder` with links to the published files; where an output of `made` is in `results`, to that one, whole."""
    names = [name.removeprefix(f"{store.prefix}/") for name in made]
    fresh = {name for name in names if (results / name).exists()}
    files = fresh | {one for name in fresh for one in record_names(name)}
    folders = tuple(f"{name}/" for name in fresh)
    for inside in _list_files(store.folder):
        if inside not in files and not inside.startswith(folders):
            _link(store.folder / inside, folder / inside)
    for name in fresh:
        own = (f"{name}/{inside}" for inside in _list_files(results / name))
        for inside in own if (results / name).is_dir() else (name, record_names(name)[1]):
            if (results / inside).is_file():
                _link(results / inside, folder / inside)


def _place_in(store: Store, name: str, results: Path) -> Path:
    return results / name.removeprefix(f"{store.prefix}/")


def _list_files(folder: Path) -> Iterator[str]:
    return (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _link(source: Path, place: Path) -> None:
    if not place.is_symlink():  # outputs beside one another share a record
        place.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(source.resolve(), place)


def list_other_bytes(store: Store, names: Sequence[str], results: Path) -> list[str]:
    """Those score files whose content in `results` is not the published one."""
    return [name for name in names if _hash_of(store, name) != _hash_here(store, name, results)]


def _hash_of(store: Store, name: str) -> str | None:
    """The SHA-256 of a published file, or what its record states of one that was not published."""
    path = store.locate(name)
    if path.is_file():
        return sha256_file(path)
    output = store.output(find_output(store, name)[1])
    if name == output["path"]:
        return str(output["sha256"])
    files: dict[str, str] = output["files"]
    return files.get(name.removeprefix(f"{output['path']}/"))


def _hash_here(store: Store, name: str, results: Path) -> str | None:
    """That of the same file in `results`, None where there is none; of a folder what its record states."""
    path = _place_in(store, name, results)
    if path.is_dir():
        record = _record_here(store, name, results)
        inside = name.removeprefix(f"{store.prefix}/")
        stated = [] if record is None else list(record.outputs())
        return next((str(one["sha256"]) for one in stated if one["path"].endswith(f"/{inside}")), None)
    return sha256_file(path) if path.is_file() else None


def _record_here(store: Store, name: str, results: Path) -> Record | None:
    """The record of a published output's namesake in `results`."""
    inside = name.removeprefix(f"{store.prefix}/")
    path = next((results / one for one in record_names(inside) if (results / one).is_file()), None)
    return None if path is None else Record(path, inside, read_record(path))


def list_other_rules(store: Store, printed: Printed, results: Path) -> list[str]:
    """Rules of the steps behind a number whose outputs are others in `results`, by the records there; the earliest first."""
    found = []
    for record in list_chain(store, printed):
        here = _record_here(store, record.made, results)
        if here and _contents(here) != _contents(record):
            found.append(record.rule)
    return list(dict.fromkeys(found))


def _contents(record: Record) -> list[str]:
    return sorted(str(output["sha256"]) for output in record.outputs())


def list_causes(store: Store, printed: Printed, results: Path) -> list[str]:
    """What the number was made with here that is not what it was published with: code, settings, registries, packages, machine."""
    steps = list_chain(store, printed)
    pairs = [(one, here) for one in steps if (here := _record_here(store, one.made, results))]
    table = store.maker(printed.file)
    codes = [(one.rule, one.facts["code"]["digest"], here.facts["code"]["digest"]) for one, here in pairs]
    codes += [(table.rule, table.facts["code"]["digest"], present_digest(table.rule))] if table else []
    found = list(chain(_compare_codes(codes), _compare_registries([*steps, *([table] if table else [])])))
    for one, here in pairs:
        if one.facts["settings_sha256"] != here.facts["settings_sha256"]:
            found.append(f"settings of {one.rule}")
        for (what, old), (_, new) in zip(_place(one), _place(here), strict=True):
            if old != new:
                found.append(f"{what} {old}, here {new}")
        old, new = (place.facts["environment"]["packages"] for place in (one, here))
        found += [
            f"{name} {old[name]}, here {new[name]}" for name in old if name in new and old[name] != new[name]
        ]
    return list(dict.fromkeys(found))


def _place(record: Record) -> list[tuple[str, str]]:
    hardware, gpu = record.facts["hardware"], record.facts["hardware"]["gpu"] or {}
    return [
        ("CPU", hardware["cpu"]),
        ("GPU", str(gpu.get("name", "none"))),
        ("Python", record.facts["environment"]["python"]),
        (f"threads of {record.rule}:", str(record.facts["threads"])),
    ]


def _compare_codes(codes: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    """Rules whose code differs, each once; of one that a waiver declares equal it is said."""
    waivers = read_waivers(WAIVERS)
    for rule, old, new in codes:
        if old != new:
            same = canonical_digest(rule, old, waivers) == canonical_digest(rule, new, waivers)
            yield f"code of {rule}{' (declared equal by a waiver)' if same else ''}"


def _compare_registries(records: Iterable[Record]) -> Iterator[str]:
    """Files of config/ that a step read and that hold something else now."""
    for item in (item for record in records for item in record.inputs()):
        path = ROOT / item["path"]
        if item["path"].startswith("config/") and not (
            path.is_file() and sha256_file(path) == item["sha256"]
        ):
            yield item["path"]

"""The files of a results folder as entities of an RO-Crate: data entities where they lie, and works elsewhere described."""

from typing import Any
from urllib.parse import quote

from rocrate.model import ContextEntity, Entity
from rocrate.rocrate import ROCrate

from preftune.exports.sources import UNKNOWN, Source, Sources, model_source
from preftune.exports.values import file_hash, file_size, media_type
from preftune.files import sha256_file
from preftune.provenance.records import Record
from preftune.provenance.store import Store


def slug(text: str) -> str:
    """A text as a fragment of an identifier."""
    return quote(text, safe="/:@=,+~-._")


def add(crate: ROCrate, identifier: str, kind: str, /, **properties: Any) -> Entity:
    """A contextual entity, added to the crate."""
    return crate.add(ContextEntity(crate, identifier, properties={"@type": kind, **properties}))


class Files:
    """The entities of all files that steps read and wrote.

    A file or folder that lies in the results folder is a data entity (File, Dataset) of the crate. Anything else, as a
    fetched model or weights that were not published, is a CreativeWork with its hash: a crate's data must be there.
    """

    def __init__(self, crate: ROCrate, store: Store) -> None:
        self.crate = crate
        self.store = store
        self._sources = Sources(store)
        self._known: dict[str, Entity] = {}

    def describe(self, name: str, item: dict[str, Any] | None = None) -> Entity:
        """The entity of a path as records name it; `item` is what the record of the step that read it says."""
        made = self.store.maker(name) is not None or bool(self.store.parts(name))
        key = name if made or item is None else f"{name}@{item['sha256'][:12]}"
        if key not in self._known:
            self._known[key] = self._make(name, key, item)
        return self._known[key]

    def _make(self, name: str, key: str, item: dict[str, Any] | None) -> Entity:
        if name == self.store.prefix:
            return self.crate.root_dataset
        path = self.store.locate(name)
        below = name.removeprefix(f"{self.store.prefix}/")
        if below == name or not path.exists():
            return self._work(name, key, item)
        return self._folder(name, below, item) if path.is_dir() else self._file(name, below, item)

    def _file(self, name: str, below: str, item: dict[str, Any] | None) -> Entity:
        size, digest = (
            file_size(self.store, name),
            file_hash(self.store, name) or (item or {}).get("sha256", ""),
        )
        properties = {
            "name": below,
            "encodingFormat": media_type(below),
            "sha256": digest,
            "contentSize": str(size),
        }
        return self.crate.add_file(
            dest_path=below, properties={key: value for key, value in properties.items() if value}
        )

    def record(self, record: Record) -> Entity | None:
        """The file of a record, where it lies in the results folder."""
        if not record.path.is_relative_to(self.store.folder):
            return None
        below = record.path.relative_to(self.store.folder).as_posix()
        properties = {
            "name": f"record of {record.rule}",
            "encodingFormat": "application/json",
            "sha256": sha256_file(record.path),
            "contentSize": str(record.path.stat().st_size),
        }
        return self.crate.add_file(dest_path=below, properties=properties)

    def _folder(self, name: str, below: str, item: dict[str, Any] | None) -> Entity:
        record = self.store.maker(name)
        output = _output(record, name) or item or {}
        files = [f"{name}/{file}" for file in sorted(output.get("files", ()))]
        here = [file for file in files if self.store.locate(file).is_file()]
        parts = [self.describe(file) for file in here or self.store.parts(name)]
        properties: dict[str, Any] = {"name": below}
        if output:
            properties["identifier"] = _content(output)
        if len(here) < len(files):
            properties["description"] = (
                f"{len(here)} of {len(files)} files are here; the record states the hash of each."
            )
        if parts:
            properties["hasPart"] = parts
        folder = self.crate.add_dataset(dest_path=below, properties=properties)
        if record is not None and (source := self._sources.prepared(record)):
            folder["license"] = self._licence(source)
        return folder

    def _work(self, name: str, key: str, item: dict[str, Any] | None) -> Entity:
        output = _output(self.store.maker(name), name) or item or {}
        properties: dict[str, Any] = {"name": name}
        properties["description"] = "Not part of this crate: described by the records that name it."
        if output:
            properties |= {"identifier": _content(output), "contentSize": str(output["bytes"])}
        if digest := file_hash(self.store, name):
            properties["sha256"] = digest
        work = add(self.crate, f"#file/{slug(key)}", "CreativeWork", **properties)
        if source := self._fetched(name):
            work["license"] = self._licence(source)
            if source.url:
                work["url"] = source.url
        return work

    def _fetched(self, name: str) -> Source | None:
        """The one model or data set that a fetched folder is; none for the words of a template set."""
        record, parts = self.store.maker(name), name.split("/")
        if record is not None:
            return next(iter(self._sources.of(record)), None) if record.rule.startswith("fetch_") else None
        return model_source(parts[-1]) if parts[-2:-1] == ["models"] else None

    def _licence(self, source: Source) -> Entity:
        """The licence of a source as the registry words it."""
        name = f"#licence/{slug(source.licence.replace(' ', '-'))}"
        registry = "models" if source.kind == "model" else "datasets"
        said = f"The licence as config/{registry}.yaml words it."
        if source.licence == UNKNOWN:
            said = "No registry of this project states the licence of what these files hold."
        return self.crate.get(name) or add(
            self.crate, name, "CreativeWork", name=source.licence, description=said
        )


def _output(record: Record | None, name: str) -> dict[str, Any] | None:
    """What a step's record says of one of its outputs."""
    outputs = record.outputs() if record else iter(())
    return next((output for output in outputs if output["path"] == name), None)


def _content(output: dict[str, Any]) -> str:
    """The content hash of a file or folder, as src/preftune/files.py computes it."""
    return f"sha256_tree:{output['sha256']}"

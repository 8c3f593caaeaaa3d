"""Which models and data sets an output rests on, where they come from, and under which licence, by records and registries."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from preftune.provenance.digest import ROOT
from preftune.provenance.records import Record
from preftune.provenance.store import Store
from preftune.workflow.registry import read_yaml

UNKNOWN = "unknown"
"""What stands for a licence that no registry states: none is guessed."""
GENERATORS = ("generate_language_data", "generate_scenes")
_EMBEDDED = {"language": "generate_language_data", "scenes": "generate_scenes"}


@dataclass(frozen=True)
class Source:
    """One model or data set that an output rests on.

    Attributes:
        name: its name in config/models.yaml or config/datasets.yaml, or the rule that drew it.
        kind: `embedded` is data that a rule of this project draws, `given` rows that somebody has placed.
        licence: as the registry states it, or `unknown`.
        origin: where it comes from, in words.
        url: a page of it; empty where the registry names none.
        hub: its repository on the hub, or empty.
    """

    name: str
    kind: Literal["model", "dataset", "embedded", "given"]
    licence: str = UNKNOWN
    origin: str = ""
    url: str = ""
    hub: str = ""


def model_source(name: str) -> Source:
    """A model of config/models.yaml."""
    entry = registry("models").get(name, {})
    return _describe(name, "model", entry.get("licence"), entry.get("source", {}))


def dataset_source(name: str) -> Source:
    """A data set of config/datasets.yaml."""
    entry = registry("datasets").get(name, {})
    sources = entry.get("sources", {})
    kind = next((kind for kind in ("hub", "urls", "pypi") if kind in sources), "")
    return _describe(name, "dataset", entry.get("licence"), {"kind": kind, **sources.get(kind, {})})


@dataclass(frozen=True)
class HubLocation:
    """Where the rows of a data set's split are on the hub; empty where its registry names no repository."""

    repo: str
    configuration: str
    split: str


def hub_location(name: str, split: str) -> HubLocation:
    """The hub's own names of a data set of config/datasets.yaml and of one of its splits."""
    hub = registry("datasets").get(name, {}).get("sources", {}).get("hub", {})
    return HubLocation(
        str(hub.get("repo", "")),
        str(hub.get("configuration", "")),
        str(hub.get("splits", {}).get(split, split)),
    )


def embedded_source(rule: str) -> Source:
    """The data that a rule of this project draws; no registry states their licence."""
    return Source(rule, "embedded", origin=f"drawn by rule {rule} of this project")


def given_source(name: str) -> Source:
    """Rows from outside the checkout in the layout of a data set: nothing vouches that they are that data set's."""
    licence = dataset_source(name).licence
    origin = f"given from outside the checkout in the layout of {name}, whose licence the registry words as: {licence}"
    return Source(name, "given", origin=origin)


@cache
def registry(name: str) -> dict[str, Any]:
    """A registry of config/: models, datasets, tasks or licences."""
    return dict(read_yaml(ROOT / f"config/{name}.yaml"))


def _describe(name: str, kind: Literal["model", "dataset"], licence: Any, source: dict[str, Any]) -> Source:
    origin, url, hub = "", "", str(source.get("repo") or "")
    if hub:
        url = f"https://huggingface.co/{'datasets/' if kind == 'dataset' else ''}{hub}"
        parts = [source.get("configuration"), source.get("revision")]
        origin = " ".join(["hub repository", hub, *(str(part) for part in parts if part)])
    elif source.get("kind") == "pypi":
        url = f"https://pypi.org/project/{source['package']}/{source['version']}/"
        origin = f"{source['member']} of the wheel {source['package']} {source['version']}"
    elif source.get("archives"):
        addresses = [str(archive["url"]) for archive in source["archives"].values()]
        url, origin = addresses[0], ", ".join(addresses)
    elif source.get("path"):
        origin = f"local folder {source['path']}"
    return Source(name, kind, str(licence) if licence else UNKNOWN, origin, url, hub)


class Sources:
    """Every model and data set that the outputs of steps rest on, over all steps before them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._found: dict[int, frozenset[Source]] = {}

    def of(self, record: Record) -> list[Source]:
        """Of one step, by kind and name."""
        return sorted(self._all(record), key=lambda source: (source.kind, source.name))

    def _all(self, record: Record) -> frozenset[Source]:
        if id(record) not in self._found:
            self._found[id(record)] = (
                frozenset()
            )  # a step that reads its own output has no other sources by that
            above = frozenset(self._above(record))
            self._found[id(record)] = above | frozenset(self._own(record, above))
        return self._found[id(record)]

    def _above(self, record: Record) -> Iterator[Source]:
        """What the inputs rest on: those of a step on its own, the others by where they lie."""
        for path in {str(item["path"]) for item in record.inputs()}:
            makers = [self._store.maker(name) for name in (path, *self._store.parts(path))]
            for maker in makers:
                yield from self._all(maker) if maker is not None else ()
            source = (
                _leaf(path) if not any(makers) and not path.startswith(f"{self._store.prefix}/") else None
            )
            if source is not None:
                yield source

    def _own(self, record: Record, above: frozenset[Source]) -> Iterator[Source]:
        """What the step fetched, drew, or read in the layout of a data set."""
        name = str((record.facts["settings"] or {}).get("name", ""))
        if record.rule == "fetch_model":
            yield model_source(name)
        elif record.rule == "fetch_dataset":
            yield dataset_source(name)
        elif record.rule in GENERATORS:
            yield embedded_source(record.rule)
        elif not any(source.kind == "embedded" for source in above):
            given = any(item["path"].startswith("external:") for item in record.inputs())
            yield from (
                given_source(name) if given else dataset_source(name) for name in registered_names(record)
            )

    def prepared(self, record: Record) -> Source | None:
        """The one data set that a prepared folder holds; null for what is none, or is mixed from several."""
        names, own = registered_names(record), self.of(record)
        embedded = next((source for source in own if source.kind == "embedded"), None)
        if not names:
            return embedded if record.rule in GENERATORS else None
        return embedded or next(
            (source for source in own if source.name == names[0] and source.kind != "model"), None
        )


def _leaf(path: str) -> Source | None:
    parts = path.split("/")
    for place, kind, name in zip(parts, parts[1:], parts[2:], strict=False):
        if place == "data" and kind in _EMBEDDED:
            return embedded_source(_EMBEDDED[kind])
        if place == "data" and kind in ("hub", "packages"):
            return dataset_source(name)
    if parts[-2:-1] == ["models"]:
        return model_source(parts[-1])
    return (
        embedded_source(_EMBEDDED[parts[-1]]) if parts[-2:-1] == ["data"] and parts[-1] in _EMBEDDED else None
    )


def registered_names(record: Record) -> list[str]:
    """The data sets of config/datasets.yaml whose rows or layout a preparing step read."""
    output = record.made
    names = {
        "prepare_dataset": [output.rsplit("/", 1)[-1]],
        "prepare_captions": ["coco"],
        "prepare_corpus": [str((record.facts["settings"] or {}).get("name"))],
        "prepare_questions": [str((record.facts["settings"] or {}).get("format"))],
    }
    return [name for name in names.get(record.rule, []) if name in registry("datasets")]

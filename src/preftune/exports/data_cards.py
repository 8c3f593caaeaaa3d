"""A Croissant data card (JSON-LD, MLCommons 1.1) for each data set that a step prepared or drew."""

import json
from collections.abc import Iterator
from typing import Any

from preftune.exports.columns import describe_columns
from preftune.exports.sources import GENERATORS, UNKNOWN, Source, Sources
from preftune.exports.values import file_hash, file_size, media_type, setting_pairs
from preftune.provenance.records import Record
from preftune.provenance.store import Store

CONFORMS_TO = "http://mlcommons.org/croissant/1.1"
_PAPERS = {"generate_language_data": "dph", "generate_scenes": "context_peft"}
"""Which paper reads the data that lie outside the results, below resources/."""
_TERMS = (
    "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileProperty",
    "fileObject", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5", "parentField",
    "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate", "separator", "source", "subField",
    "transform",
)  # fmt: skip
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "name": {"@container": "@language"},
    "description": {"@container": "@language"},
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in _TERMS},
}
"""The context that Croissant 1.1 prescribes."""


def is_data(record: Record) -> bool:
    """Whether a step's output is a data set."""
    return record.rule.startswith("prepare_") or record.rule in GENERATORS


def write_data_cards(store: Store) -> dict[str, dict[str, Any]]:
    """The content of each card by its path below the folder of cards, `data/<paper>/<data set>.json`."""
    sources = Sources(store)
    return {
        _card_path(store, record): _card(store, sources, record)
        for record in sorted(store.steps, key=lambda one: one.made)
        if is_data(record)
    }


def _card_path(store: Store, record: Record) -> str:
    inside = record.made.removeprefix(f"{store.prefix}/").split("/")
    return f"data/{_PAPERS.get(record.rule, inside[0])}/{inside[-1]}.json"


def _card(store: Store, sources: Sources, record: Record) -> dict[str, Any]:
    source, made = sources.prepared(record), record.made
    kind = (
        "" if source is None or source.kind == "dataset" or record.rule in GENERATORS else f"-{source.kind}"
    )
    card: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": f"{made.rsplit('/', 1)[-1]}{kind}",
        "description": _description(store, sources, record),
        "license": _licence(sources, record),
        "creator": {"@type": "Organization", "name": "preftune"},
        "datePublished": record.facts["time"]["end"],
        "isLiveDataset": False,
        "identifier": [f"sha256_tree:{output['sha256']}" for output in record.outputs()],
        "distribution": [_file(store, name) for name in _files(record)],
    }
    if source is not None and source.url:
        card["url"] = source.url
    if records := describe_columns(store, _files(record)):
        card["recordSet"] = records
        card["distribution"] += list(_file_sets(records))
    return card


def _files(record: Record) -> list[str]:
    """Every file of the data set, as records name it."""
    return [
        f"{output['path']}/{file}" if file else str(output["path"])
        for output in record.outputs()
        for file in sorted(output["files"] or [""])
    ]


def _file(store: Store, name: str) -> dict[str, Any]:
    """One file: where it lies from the card's place in cards/data/<paper>/, its hash and size."""
    below = name.removeprefix(f"{store.prefix}/")
    up = 3 if below != name else 3 + len(store.prefix.split("/"))
    described: dict[str, Any] = {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": f"{'../' * up}{below}",
        "encodingFormat": _encoding(name),
        "sha256": file_hash(store, name),
    }
    size = file_size(store, name)
    return described if size is None else {**described, "contentSize": f"{size} B"}


def _encoding(name: str) -> str:
    """The media type, as readers of Croissant call it."""
    return "application/x-parquet" if name.endswith(".parquet") else media_type(name)


def _file_sets(records: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The shards of a table that lies in several files."""
    for one in records:
        if shards := one.pop("shards", None):
            yield {
                "@type": "cr:FileSet",
                "@id": f"{one['@id']}-files",
                "name": f"{one['@id']}-files",
                "encodingFormat": _encoding(shards[0]),
                "includes": shards,
            }


def _licence(sources: Sources, record: Record) -> str:
    """The licences of the data that it was made from, as the registry words them."""
    own = {source.licence for source in sources.of(record) if source.kind != "model"}
    return "; ".join(sorted(own)) or UNKNOWN


def _description(store: Store, sources: Sources, record: Record) -> str:
    """What the data are, what they come from, and how they were made."""
    facts, code = record.facts, record.facts["code"]
    data = [_say(source) for source in sources.of(record) if source.kind != "model"]
    notes = facts["facts"]
    rows = notes.get("rows") or notes.get("images") or notes.get("examples")
    said = [
        f"{record.made}, written by rule {record.rule} of preftune at commit {code['commit']}, seed {facts['seed']}.",
        f"It rests on {'; '.join(data)}." if data else "Its record names no registered data set.",
        f"Rows: {json.dumps(rows, sort_keys=True)}." if rows else "",
        f"Settings: {', '.join(f'{key} {value}' for key, value in setting_pairs(facts['settings']))}."
        if facts["settings"]
        else "",
        f"Its record is {record.name}.",
    ]
    return " ".join(part for part in said if part)


def _say(source: Source) -> str:
    return f"{source.name} ({source.origin or 'of no registry'}; licence {source.licence})"

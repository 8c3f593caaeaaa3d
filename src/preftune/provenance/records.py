"""The records of a results folder as a graph: which step made which output from which inputs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from preftune.errors import PreftuneError
from preftune.files import read_json
from preftune.provenance.digest import ROOT
from preftune.provenance.record import SCHEMA, hash_settings, record_path, seal

PAPERS = ("dph", "context_peft")
VIEWS = ("report.run.json", "ro-crate-metadata.run.json", "code/run.json", "cards/run.json")
"""Records of what is made from the records."""
READABLE = (SCHEMA, "preftune/run/1")
"""The present version of records and the one before it, which had neither its own hash nor a fingerprint."""


@dataclass(frozen=True)
class Record:
    """One record of a step: where it lies, how records name that place, and what it says."""

    path: Path
    name: str
    facts: dict[str, Any]

    @property
    def rule(self) -> str:
        """The rule, which is the script's name."""
        return str(self.facts["rule"])

    def inputs(self) -> Iterator[dict[str, Any]]:
        """Every input: path, sha256, bytes, record_sha256."""
        for items in self.facts["inputs"].values():
            yield from items

    def outputs(self) -> Iterator[dict[str, Any]]:
        """Every output: path, sha256, bytes, files."""
        yield from self.facts["outputs"].values()


@dataclass(frozen=True)
class Fault:
    """What is wrong with one file, in words, and what it means for the results that rest on it.

    grade: `broken` (what is there is not what was made), `missing`, `stale` (other code, settings or data than now),
    `waived`, `absent` (not published, so not checked) or `note`.
    """

    grade: str
    place: str
    says: str
    repair: str = ""
    unpublishable: bool = False


@cache
def _validator() -> jsonschema.Draft202012Validator:
    """Made once: checking the schema itself takes longer than checking a record."""
    return jsonschema.Draft202012Validator(read_json(ROOT / "config/schemas/run.schema.json"))


def read_record(path: Path) -> dict[str, Any]:
    """A record of the present version or the one before.

    Raises:
        PreftuneError: it is damaged, of another version, lacks a field, or was edited after it was written.
    """
    facts = read_json(path)
    version = facts.get("schema") if isinstance(facts, dict) else None
    if version not in READABLE:
        number = str(version).rpartition("/")[2]
        newer = number.isdecimal() and int(number) > int(SCHEMA.rpartition("/")[2])
        remedy = (
            "update this checkout"
            if newer
            else "delete it and make its output again; it was not written by a step"
        )
        raise PreftuneError(
            f"{path} is a record of version {version}, not of {' or '.join(READABLE)}: {remedy}."
        )
    error = next(_validator().iter_errors(facts), None)
    if error is not None:
        key = ".".join(map(str, error.absolute_path)) or "(top)"
        raise PreftuneError(
            f"{path}: key {key}: {error.message}; delete it and make its output again, it was not written by a step."
        )
    if version == SCHEMA and seal(facts)["sha256"] != facts["sha256"]:
        raise PreftuneError(f"{path} was edited after it was written: make its output again.")
    if facts["settings_sha256"] != hash_settings(facts["settings"]):
        raise PreftuneError(f"{path}: its settings are not those it was hashed with: make its output again.")
    return facts  # type: ignore[no-any-return]


@dataclass
class Store:
    """All records of a results folder, wherever it lies now.

    Attributes:
        folder: where the results are.
        prefix: how the records name that folder (`results`, `results/small-cpu`), also after it was copied or published.
        records: readable records by the path of their file as records name it.
        makers: the record of each output, by the output's path.
        faults: records that cannot be read.
    """

    folder: Path
    prefix: str
    records: dict[str, Record] = field(default_factory=dict)
    makers: dict[str, Record] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    _steps: dict[str, Record] = field(default_factory=dict)

    @property
    def steps(self) -> list[Record]:
        """Each step once, whatever the number of its outputs."""
        return list({id(record): record for record in self.makers.values()}.values())

    @property
    def tables(self) -> list[Record]:
        """The steps that made the tables, sorted."""
        return sorted(
            (one for one in self.steps if one.rule.startswith("tabulate_")), key=lambda one: one.name
        )

    @classmethod
    def open(cls, folder: Path, views: bool = False) -> "Store":
        """Read the records of a results folder, with those of its `views`, and of the resources that they were made from."""
        if not folder.is_dir():
            raise PreftuneError(f"{folder} is no folder: run `make results` first, or name a results folder.")
        paths = list_records(folder, views)
        found: dict[Path, dict[str, Any]] = {}
        faults: dict[Path, str] = {}
        for path in sorted(paths):
            try:
                found[path] = read_record(path)
            except PreftuneError as error:
                faults[path] = str(error)
        store = cls(folder, _prefix(folder, found))
        store.faults = [
            Fault("broken", store.public(path), says, store.remake(store.public(path)))
            for path, says in faults.items()
        ]
        for path, facts in found.items():
            store._add(path, facts)
        store._follow()
        return store

    def _add(self, path: Path, facts: dict[str, Any]) -> None:
        name = self.public(path)
        record = Record(path, name, facts)
        own = [output["path"] for output in record.outputs() if name in record_names(output["path"])]
        if not own:
            says = f"{name} is the record of {next(iter(record.outputs()))['path']}: it was copied or moved here."
            self.faults.append(Fault("broken", name, says, self.remake(name)))
            return
        self.records[name] = record
        # A step with several outputs leaves one record beside each: all of them stand for the one step.
        content = hash_settings(facts)
        self.makers.update(dict.fromkeys(own, self._steps.setdefault(content, record)))

    def _follow(self) -> None:
        """Add the records of inputs that lie outside the results: fetched models and data."""
        waiting = [item["path"] for record in self.records.values() for item in record.inputs()]
        seen = set(self.makers)
        while waiting:
            name = waiting.pop()
            path = self.locate(name)
            if name in seen or name.startswith(f"{self.prefix}/") or not path.exists():
                continue
            seen.add(name)
            source = _nearest_record(path)
            if source is None or self.public(source) in seen:
                continue
            seen.add(self.public(source))
            try:
                facts = read_record(source)
            except PreftuneError as error:
                self.faults.append(Fault("broken", self.public(source), str(error), self.remake(name)))
                continue
            self._add(source, facts)
            waiting += [item["path"] for items in facts["inputs"].values() for item in items]

    def locate(self, name: str) -> Path:
        """Where a path of a record lies now."""
        inside = name.removeprefix(f"{self.prefix}/")
        return self.folder / inside if inside != name else ROOT / name

    def public(self, path: Path) -> str:
        """The name that records give to a path."""
        if path.is_relative_to(self.folder):
            return f"{self.prefix}/{path.relative_to(self.folder).as_posix()}"
        return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.as_posix()

    def maker(self, name: str) -> Record | None:
        """The record of the step that made a file: as an output, or as a file of an output folder."""
        parts = name.split("/")
        for length in range(len(parts), 0, -1):
            record = self.makers.get("/".join(parts[:length]))
            if record is not None:
                return record
        return None

    def upstream(self, names: Sequence[str]) -> list[Record]:
        """Every record that these files rest on, the earliest steps first."""
        order: list[Record] = []
        seen: set[str] = set()

        def visit(name: str) -> None:
            record = self.maker(name)
            if record is None or record.name in seen:
                return
            seen.add(record.name)
            for item in record.inputs():
                visit(item["path"])
                for inside in self.parts(item["path"]):
                    visit(inside)
            order.append(record)

        for name in names:
            visit(name)
        return order

    def parts(self, name: str) -> list[str]:
        """Outputs of several steps that lie in one folder which a later step reads as a whole."""
        if name in self.makers:
            return []
        return list(self._by_folder().get(name, ()))

    @cache  # noqa: B019 - one store lives as long as one audit
    def _by_folder(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for output in self.makers:
            found.setdefault(output.rpartition("/")[0], []).append(output)
        return found

    def remake(self, name: str) -> str:
        """The command that makes an output again."""
        record = self.maker(name.removesuffix(".run.json").removesuffix("/run.json"))
        target = next(iter(record.outputs()))["path"] if record else name
        return f"python -m preftune results --cores 2 -- --force {target}"

    def __hash__(self) -> int:
        return id(self)


def _nearest_record(path: Path) -> Path | None:
    """The record of a file or folder, or of the output that it is a part of."""
    for place in (path, *path.parents):
        if place == ROOT or not place.is_relative_to(ROOT):
            return None
        if record_path(place).is_file():
            return record_path(place)
    return None


def list_records(folder: Path, views: bool = False) -> list[Path]:
    """Records of a results folder: those of its papers, not of other scales that lie below it.

    views: also those of the report and of what is exported from the records; never the audit's, which is not its own witness.
    """
    found = [
        path
        for paper in PAPERS
        for name in ("run.json", "*.run.json")
        for path in (folder / paper).rglob(name)
    ]
    if views:
        found += [path for name in VIEWS if (path := folder / name).is_file()]
    return sorted(path for path in found if not _in_progress(path, folder))


def _in_progress(path: Path, folder: Path) -> bool:
    """Steps write below hidden names until they succeed."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def record_names(output: str) -> tuple[str, str]:
    """Where the record of an output lies: in it where it is a folder, beside it where it is a file.

    The output of some rules is the record of a folder itself.
    """
    if output.endswith("/run.json"):
        return output, output
    return f"{output}/run.json", f"{Path(output).with_suffix('').as_posix()}.run.json"


def _prefix(folder: Path, records: dict[Path, dict[str, Any]]) -> str:
    """How the records of a folder name it: the path of an output without the part below the folder."""
    for path, facts in records.items():
        below = path.relative_to(folder).as_posix()
        for output in facts["outputs"].values() if "/" in below else ():
            for name in record_names(output["path"]):
                if name.endswith(f"/{below}"):
                    return name.removesuffix(f"/{below}")
    return folder.relative_to(ROOT).as_posix() if folder.is_relative_to(ROOT) else folder.name

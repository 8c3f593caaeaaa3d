"""The records of a results folder as a graph: which step made which output from which inputs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from preftune.errors import PreftuneError
from preftune.provenance.digest import ROOT
from preftune.provenance.record import hash_settings, record_path
from preftune.provenance.records import Fault, Record, list_records, read_record, record_names


@dataclass
class Store:
    """All records of a results folder, wherever it lies now.

    Attributes:
        folder: where the results are.
        prefix: how the records name that folder (`results`, `results/small-cpu`), also after it was copied or published.
        configfile: the scale that `make results` makes them from.
        records: readable records by the path of their file as records name it.
        makers: the record of each output, by the output's path.
        faults: records that cannot be read, or lie in the wrong place.
    """

    folder: Path
    prefix: str
    configfile: str = "config.yaml"
    records: dict[str, Record] = field(default_factory=dict)
    makers: dict[str, Record] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    _steps: dict[str, Record] = field(default_factory=dict)

    @classmethod
    def open(
        cls, folder: Path, views: bool = False, configfile: str = "config.yaml", resources: bool = True
    ) -> "Store":
        """Read the records of a results folder.

        Args:
            views: with those of what is made from the records.
            resources: with those of the models and data outside the folder that the results were made from.

        Raises:
            PreftuneError: the folder is none.
        """
        if not folder.is_dir():
            raise PreftuneError(
                f"{folder} is no folder: run `{make_command(configfile)}` first, or name a results folder."
            )
        paths = list_records(folder, views)
        found: dict[Path, dict[str, Any]] = {}
        faults: dict[Path, str] = {}
        for path in paths:
            try:
                found[path] = read_record(path)
            except PreftuneError as error:
                faults[path] = str(error)
        store = cls(folder, _prefix(folder, found), configfile)
        for path, says in faults.items():
            store._refuse(path, says)
        for path, facts in found.items():
            store._add(path, facts)
        if resources:
            store._follow()
        return store

    def require_steps(self) -> None:
        """Raise PreftuneError where there is no record at all, readable or not."""
        if not self.makers and not self.faults:
            raise PreftuneError(
                f"{self.folder} has no record of a step: run `make results` first, or name a results folder."
            )

    def _refuse(self, path: Path, says: str) -> None:
        name = self.public(path)
        self.faults.append(Fault("broken", name, says.replace(str(path), name), self.remake(name)))

    def _add(self, path: Path, facts: dict[str, Any]) -> None:
        name = self.public(path)
        record = Record(path, name, facts)
        own = [output["path"] for output in record.outputs() if name in record_names(output["path"])]
        if not own:
            self._refuse(path, f"{path} is the record of {record.made}: it was copied or moved here.")
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
                self._refuse(source, str(error))
                continue
            self._add(source, facts)
            waiting += [item["path"] for items in facts["inputs"].values() for item in items]

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

    def keep(self, steps: Iterable[Record]) -> list[Record]:
        """Forget all other steps; returns them."""
        kept = {id(step) for step in steps}
        others = [step for step in self.steps if id(step) not in kept]
        self.makers = {name: step for name, step in self.makers.items() if id(step) in kept}
        self.__dict__.pop("_by_folder", None)
        return others

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

    def output(self, name: str) -> dict[str, Any]:
        """What its record says of an output: path, sha256, bytes, files."""
        return next(output for output in self.makers[name].outputs() if output["path"] == name)

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
        return [] if name in self.makers else list(self._by_folder.get(name, ()))

    @cached_property
    def _by_folder(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for output in self.makers:
            found.setdefault(output.rpartition("/")[0], []).append(output)
        return found

    def remake(self, name: str) -> str:
        """The command that makes an output again, and what follows from it."""
        record = self.maker(name.removesuffix(".run.json").removesuffix("/run.json"))
        target = record.made if record else name
        return f"{make_command(self.configfile)} FORCE={target}"


def make_command(configfile: str) -> str:
    """The command that makes the results of a scale; the demo's needs no config."""
    return "make results" if configfile == "config.yaml" else f"make results CONFIG={configfile}"


def _nearest_record(path: Path) -> Path | None:
    """The record of a file or folder, or of the output that it is a part of."""
    for place in (path, *path.parents):
        if place == ROOT or not place.is_relative_to(ROOT):
            return None
        if record_path(place).is_file():
            return record_path(place)
    return None


def _prefix(folder: Path, records: dict[Path, dict[str, Any]]) -> str:
    """How the records of a folder name it: the path of an output without the part below the folder."""
    for path, facts in records.items():
        below = path.relative_to(folder).as_posix()
        for output in facts["outputs"].values() if "/" in below else ():
            for name in record_names(output["path"]):
                if name.endswith(f"/{below}"):
                    return name.removesuffix(f"/{below}")
    return folder.relative_to(ROOT).as_posix() if folder.is_relative_to(ROOT) else folder.name

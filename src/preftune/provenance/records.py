"""Records as they lie on the disk: which there are, and whether one can be trusted."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from preftune.errors import PreftuneError
from preftune.files import read_json
from preftune.provenance.digest import ROOT
from preftune.provenance.record import SCHEMA, hash_settings, seal

PAPERS = ("dph", "context_peft")
PUBLISHED = ROOT / "results" / "published"
"""Where published copies lie, one folder a scale."""
VIEWS = ("report.run.json", "ro-crate-metadata.run.json", "code/run.json", "cards/run.json")
"""Records of what is made from the records."""
FAILING = ("missing", "broken", "stale")
"""Grades of faults that make an audit fail."""
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

    @property
    def made(self) -> str:
        """The path that names the step: that of its first output."""
        return min(str(output["path"]) for output in self.outputs())


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

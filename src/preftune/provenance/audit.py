"""The audit of a results folder: every hash, link, aggregate and printed digit, offline; the first broken link of each table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from preftune.errors import PreftuneError
from preftune.provenance import integrity, origins, recompute
from preftune.provenance.digest import WAIVERS, code_digest, present_digest
from preftune.provenance.hashes import Hashes
from preftune.provenance.links import StepLinks, sort_links
from preftune.provenance.record import describe_git, hash_settings, now, seal
from preftune.provenance.records import FAILING, Fault, Record
from preftune.provenance.store import Store
from preftune.provenance.waivers import canonical_digest, read_waivers
from preftune.workflow.plan import Plan
from preftune.workflow.reasons import cost_of

SCHEMA = "preftune/audit/2"


@dataclass(frozen=True)
class TableAudit:
    """One table: what it rests on, and what is wrong with that; verified and not_shipped count the links below it."""

    table: str
    steps: int
    commits: tuple[str, ...]
    hardware: tuple[str, ...]
    wall_seconds: float
    gpu_hours: float
    watt_hours: float | None
    waived: int
    verified: int
    not_shipped: int
    first_broken_link: Fault | None


@dataclass(frozen=True)
class Audit:
    """Faults in the order of the steps that they concern, the earliest first, and a summary of each table.

    recomputed: tables that were computed again, now or by an earlier audit of the same content.
    links: of every step, in the order of the work, what became of each of its inputs.
    """

    results: str
    faults: tuple[Fault, ...]
    tables: tuple[TableAudit, ...]
    outputs: int
    recomputed: int
    links: tuple[StepLinks, ...]

    @property
    def failed(self) -> list[Fault]:
        """Faults that make the audit fail."""
        return [fault for fault in self.faults if fault.grade in FAILING]

    @property
    def publishable(self) -> bool:
        """Made from committed code, whole, and without a fault."""
        return not self.failed and not any(fault.unpublishable for fault in self.faults)

    def as_json(self) -> dict[str, Any]:
        """The record of the audit, with its own hash (JSON Schema: config/schemas/audit.schema.json)."""
        return seal(
            {
                "schema": SCHEMA,
                "results": self.results,
                "time": now(),
                "checkout": describe_git(),
                "passed": not self.failed,
                "publishable": self.publishable,
                "outputs": self.outputs,
                "recomputed": self.recomputed,
                "faults": [asdict(fault) for fault in self.faults],
                "tables": [asdict(table) for table in self.tables],
                "links": [asdict(step) for step in self.links],
            }
        )


def audit_results(
    folder: Path,
    plan: Plan | None = None,
    deep: bool = False,
    published: bool = False,
    memory: Path | None = None,
) -> Audit:
    """Audit a results folder.

    Args:
        folder: a scale's results, or their published copy, wherever it lies.
        plan: what the results should hold now; None: they are not compared with a config.
        deep: read every byte again, whatever was read before.
        published: the copy is of its own day and holds no weights and rows: those are absent, never verified, and that code
            has moved on since is no fault.
        memory: where hashes are remembered.

    Raises:
        PreftuneError: the folder is none, holds no records, or cannot be read.
    """
    hashes = Hashes(deep, memory)
    configfile = plan.source if plan else "config.yaml"
    store = Store.open(folder, views=True, configfile=configfile, resources=not published)
    store.require_steps()
    faults = [*origins.forget_leftovers(store, plan)] if plan else []
    faults += store.faults
    faults += integrity.check_outputs(store, hashes, published)
    linked = list(integrity.check_links(store, hashes, published))
    links = sort_links(store, faults, linked)
    faults += [fault for _, _, fault in linked]
    faults += origins.check_code(store)
    faults += origins.check_environment(store)
    faults += origins.check_uniformity(store)
    faults += origins.check_attempts(store, plan)
    faults += origins.check_plan(store, plan) if plan else []
    damaged = [fault.place for fault in faults if fault.grade in ("missing", "broken")]
    found, recomputed = _check_tables(store, hashes, damaged)
    faults += found
    hashes.save()
    if published:
        faults = [_as_published(fault) for fault in faults]
    ordered = tuple(sort_faults(store, faults))
    tables = tuple(_summarise(store, record, ordered, links) for record in store.tables)
    steps = store.upstream(list(store.makers))
    return Audit(
        store.prefix,
        ordered,
        tables,
        len(store.makers),
        recomputed,
        tuple(links[step.name] for step in steps),
    )


def _check_tables(store: Store, hashes: Hashes, damaged: Sequence[str]) -> tuple[list[Fault], int]:
    """Recompute the tables whose scores are whole and whose code is the present one; faults, and how many were recomputed.

    Of the others it is known already what is wrong. What a table is computed from and by decides it, so that one that passed
    is not computed again.
    """
    faults: list[Fault] = []
    count = 0
    for record in store.tables:
        inputs = [item["path"] for item in record.inputs()]
        hurt = any(place == name or place.startswith(f"{name}/") for place in damaged for name in inputs)
        partial = next((name for name in inputs if not _is_whole(store, name)), None)
        if partial is not None and not hurt:
            says = f"{record.made} cannot be computed again from here: {partial} is not present as a whole."
            faults.append(Fault("absent", record.made, says))
        if hurt or partial is not None or not _is_of_now(store, hashes, record):
            continue
        count += 1
        files = [*inputs, *(one["path"] for one in record.outputs() if store.locate(one["path"]).is_file())]
        contents = {name: hashes.tree(store.locate(name)) for name in files}
        key = hash_settings(
            ["table", store.prefix, record.facts["command"], contents, present_digest(record.rule)]
        )
        if not hashes.has_passed(key):
            found = list(recompute.check_table(store, record))
            faults += found
            if not found:
                hashes.remember_passed(key)
    return faults, count


def _is_of_now(store: Store, hashes: Hashes, record: Record) -> bool:
    """Whether the present code and registries are those that a table was made with: else it would rightly differ."""
    try:
        same = canonical_digest(
            record.rule, record.facts["code"]["digest"], read_waivers(WAIVERS)
        ) == code_digest(record.rule)
    except PreftuneError:  # a rule of an older version
        return False
    outside = [item for item in record.inputs() if not item["path"].startswith(f"{store.prefix}/")]
    return same and all(
        store.locate(item["path"]).is_file() and hashes.file(store.locate(item["path"])) == item["sha256"]
        for item in outside
    )


def _is_whole(store: Store, name: str) -> bool:
    """Whether an input is there with every file that its record names and a table can read."""
    maker, path = store.makers.get(name), store.locate(name)
    outputs = list(maker.outputs()) if maker else []
    files: dict[str, str] = next((one["files"] for one in outputs if one["path"] == name), {})
    return path.exists() and all(
        (path / file).is_file() for file in files if not file.endswith(integrity.STATES)
    )


def _as_published(fault: Fault) -> Fault:
    """A published copy is of its own day: that the code has moved on since is no fault of it."""
    return Fault("note", fault.place, fault.says) if fault.grade == "stale" else fault


def sort_faults(store: Store, faults: Sequence[Fault]) -> list[Fault]:
    """The faults of early steps first, so that the first one is what the others follow from; each once."""
    order = {record.name: rank for rank, record in enumerate(store.upstream(list(store.makers)))}

    def rank(fault: Fault) -> tuple[int, int, str, str]:
        maker = store.records.get(fault.place) or store.maker(fault.place)
        place = order.get(maker.name, len(order)) if maker else -1
        return (
            FAILING.index(fault.grade) if fault.grade in FAILING else len(FAILING),
            place,
            fault.place,
            fault.says,
        )

    unique = {(fault.grade, fault.place, fault.says): fault for fault in faults}.values()
    hard = [fault for fault in unique if fault.grade in ("missing", "broken")]
    soft = [fault for fault in unique if fault.grade not in ("missing", "broken")]
    return sorted(hard, key=lambda fault: rank(fault)[1:]) + sorted(soft, key=rank)


def first_broken_link(store: Store, record: Record, faults: Sequence[Fault]) -> Fault | None:
    """The first failing fault among all that a table rests on."""
    made = [output["path"] for output in record.outputs()]
    steps = [*store.upstream(made), record]
    chain = {id(one) for one in steps}
    places = {one.name for one in store.records.values() if id(one) in chain}
    places |= {item["path"] for one in steps for item in one.inputs()}
    for fault in faults:
        maker = store.records.get(fault.place) or store.maker(fault.place)
        if fault.grade in FAILING and ((maker and id(maker) in chain) or fault.place in places):
            return fault
    return None


def _summarise(
    store: Store, record: Record, faults: Sequence[Fault], links: Mapping[str, StepLinks]
) -> TableAudit:
    made = [output["path"] for output in record.outputs()]
    chain = store.upstream(made)
    names = {output["path"] for one in chain for output in one.outputs()}
    energies = [one.facts["energy"]["watt_hours"] for one in chain]
    known = [value for value in energies if value is not None]
    return TableAudit(
        table=record.made.removesuffix(".csv").removesuffix(".audit.json"),
        steps=len(chain),
        commits=tuple(sorted({str(one.facts["code"]["commit"]) for one in chain})),
        hardware=tuple(sorted({_machine(one) for one in chain})),
        wall_seconds=round(sum(one.facts["time"]["wall_seconds"] for one in chain), 1),
        gpu_hours=round(sum(cost_of(one.facts).gpu_hours for one in chain), 3),
        watt_hours=round(sum(known), 3) if known else None,
        waived=sum(fault.grade == "waived" and fault.place in names for fault in faults),
        verified=sum(len(links[one.name].verified) for one in chain),
        not_shipped=sum(len(links[one.name].not_shipped) for one in chain),
        first_broken_link=first_broken_link(store, record, faults),
    )


def _machine(record: Record) -> str:
    hardware = record.facts["hardware"]
    return str((hardware["gpu"] or {}).get("name") or hardware["cpu"])

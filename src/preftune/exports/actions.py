"""What the workflow's steps are and did, as entities of an RO-Crate: tools, parameters, and one action for each run."""

from collections.abc import Iterator, Sequence
from typing import Any

from rocrate.model import Entity
from rocrate.rocrate import ROCrate

from preftune.exports.entities import Files, add, slug
from preftune.exports.values import setting_pairs
from preftune.provenance.record import hash_settings
from preftune.provenance.records import Record

COMPLETED = "http://schema.org/CompletedActionStatus"
"""Records are of steps that succeeded: what failed before has no output."""
_TYPES = {bool: "Boolean", int: "Integer", float: "Float", str: "Text"}
_UNITS = {
    "wall_seconds": "http://qudt.org/vocab/unit/SEC",
    "cpu_seconds": "http://qudt.org/vocab/unit/SEC",
    "peak_memory_bytes": "http://qudt.org/vocab/unit/BYTE",
    "watt_hours": "http://qudt.org/vocab/unit/W-HR",
}


class Actions:
    """Adds a CreateAction for each record, with its tool, and a ControlAction with the step that the tool stands for.

    Attributes:
        agent: who led the runs; records hold no names of people.
        controls: the ControlActions, for the run of the engine.
    """

    def __init__(self, crate: ROCrate, files: Files, workflow: Entity) -> None:
        self.crate = crate
        self.files = files
        self.workflow = workflow
        self.controls: list[Entity] = []
        self._tools: dict[str, Entity] = {}
        self._rules: dict[str, list[Entity]] = {}
        self._parameters: dict[str, tuple[str, set[str]]] = {}
        self._examples: dict[str, dict[str, Entity]] = {}
        self.agent = add(
            crate, "#preftune", "Organization", name="preftune",
            description="Whoever ran the workflow: records name no people and no machines.",
        )  # fmt: skip

    def add_step(self, record: Record) -> Entity:
        """One run of a step."""
        facts, made = record.facts, record.made
        tool = self._tool(record)
        properties: dict[str, Any] = {
            "name": f"{record.rule}: {made}",
            "description": self._describe(record),
            "instrument": tool,
            "agent": self.agent,
            "actionStatus": COMPLETED,
            "startTime": facts["time"]["start"],
            "endTime": facts["time"]["end"],
            "object": [*self._inputs(record, tool), *self._values(record, tool)],
            "result": self._outputs(record, tool),
            "resourceUsage": list(self._usage(record, made)),
            "subjectOf": self.files.record(record),
        }
        properties = {key: value for key, value in properties.items() if value is not None}
        action = add(self.crate, f"#action/{slug(made)}", "CreateAction", **properties)
        step = {"@id": f"#step/{record.rule}"}
        name = f"Orchestration of {record.rule}: {made}"
        self.controls.append(
            add(
                self.crate,
                f"#control/{slug(made)}",
                "ControlAction",
                name=name,
                instrument=step,
                object=action,
            )
        )
        return action

    def _describe(self, record: Record) -> str:
        code = record.facts["code"]
        changes = " with uncommitted changes" if code["dirty"] else ""
        return (
            f"workflow/scripts/{record.rule}.py at commit {code['commit']}{changes}, seed {record.facts['seed']}, "
            f"{record.facts['threads']} threads."
        )

    def _tool(self, record: Record) -> Entity:
        """The script of a rule in the version that ran: code that differs in one of its files is another tool."""
        code = record.facts["code"]
        name = f"#tool/{record.rule}/{hash_settings(code['files'])[:12]}"
        if name not in self._tools:
            script = f"workflow/scripts/{record.rule}.py"
            blob = code["files"].get(script)
            properties: dict[str, Any] = {
                "name": script,
                "description": f"The script of rule {record.rule} and the {len(code['files'])} files that it imports.",
                "version": code["digest"],
                "programmingLanguage": "Python",
            }
            if blob:
                # An intrinsic identifier: it names the bytes, not a place where they are.
                properties["identifier"] = f"swh:1:cnt:{blob}"
            self._tools[name] = add(self.crate, name, "SoftwareSourceCode", **properties)
            self._rules.setdefault(record.rule, []).append(self._tools[name])
        return self._tools[name]

    def _inputs(self, record: Record, tool: Entity) -> list[Entity]:
        found = []
        for argument, items in sorted(record.facts["inputs"].items()):
            for item in items:
                entity = self.files.describe(item["path"], item)
                self._fills(tool, f"{record.rule}/input/{argument}", "input", entity)
                found.append(entity)
        return found

    def _outputs(self, record: Record, tool: Entity) -> list[Entity]:
        found = []
        for argument, output in sorted(record.facts["outputs"].items()):
            entity = self.files.describe(output["path"])
            self._fills(tool, f"{record.rule}/output/{argument}", "output", entity)
            found.append(entity)
        return found

    def _values(self, record: Record, tool: Entity) -> list[Entity]:
        """Settings and seed; equal values of one rule are one entity."""
        found = []
        for key, value in (*setting_pairs(record.facts["settings"]), ("seed", record.facts["seed"])):
            name = f"#value/{record.rule}/{slug(key)}/{hash_settings(value)[:8]}"
            entity = self.crate.get(name) or add(self.crate, name, "PropertyValue", name=key, value=value)
            self._fills(tool, f"{record.rule}/setting/{key}", "input", entity)
            found.append(entity)
        return found

    def _fills(self, tool: Entity, parameter: str, side: str, entity: Entity) -> None:
        """Note that an entity fills a parameter of a tool; a work that is not in the crate cannot, by the profile."""
        if entity.type in ("File", "Dataset"):
            # A parameter has one type: one that is filled by files and by folders counts as two.
            kind, parameter = entity.type, f"{parameter} ({entity.type})"
        elif entity.type == "PropertyValue":
            kind = _TYPES[type(entity["value"])]
        else:
            return
        name = f"#parameter/{slug(parameter)}"
        self._parameters.setdefault(name, (parameter.split("/", 1)[1], set()))[1].add(kind)
        self._examples.setdefault(name, {})[entity.id] = entity
        if {"@id": name} not in tool.properties().get(side, []):
            tool.append_to(side, {"@id": name})

    def _usage(self, record: Record, made: str) -> Iterator[Entity]:
        """Time, memory and energy, where they were measured."""
        facts = record.facts
        values = {key: facts["time"][key] for key in ("wall_seconds", "cpu_seconds")}
        values["peak_memory_bytes"] = facts["peak_memory_bytes"]
        values["watt_hours"] = facts["energy"]["watt_hours"]
        for key, value in values.items():
            if value is not None:
                name = f"#usage/{slug(made)}/{key}"
                yield add(
                    self.crate, name, "PropertyValue", name=key, propertyID=f"#usage/{key}", unitCode=_UNITS[key], value=value
                )  # fmt: skip

    def finish(self, steps: Sequence[Record]) -> None:
        """Add the parameters, and the workflow's steps in the order in which they ran first."""
        for name, (title, kinds) in sorted(self._parameters.items()):
            add(self.crate, name, "FormalParameter", name=title, additionalType=sorted(kinds))
            for entity in self._examples[name].values():
                entity.append_to("exampleOfWork", {"@id": name})
        rules = list(dict.fromkeys(record.rule for record in steps))
        self.workflow["step"] = [
            add(
                self.crate,
                f"#step/{rule}",
                "HowToStep",
                name=rule,
                position=str(position),
                workExample=self._rules[rule],
            )
            for position, rule in enumerate(rules)
        ]
        self.workflow["hasPart"] = list(self._tools.values())

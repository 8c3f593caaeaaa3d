"""The steps behind the numbers of the report: each once, and for each cell the numbers of those that it rests on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from preftune.provenance.chain import Link, chain_of
from preftune.provenance.records import Record
from preftune.provenance.store import Store


@dataclass(frozen=True)
class StepView:
    """One step: its number on the page, its rule and output, its record as (name, text), and the steps that it read."""

    number: int
    rule: str
    output: str
    facts: list[tuple[str, str]]
    parents: list[int]


@dataclass(frozen=True)
class CostView:
    """Time, memory and energy of one rule over all its steps."""

    rule: str
    steps: int
    seconds: float
    longest: float
    memory_mb: float
    watt_hours: float | None

    @classmethod
    def of(cls, rule: str, records: Sequence[dict[str, Any]]) -> "CostView":
        """Sums, and the largest, over a rule's records; energy where any of them could read it."""
        times = [record["time"]["wall_seconds"] for record in records]
        memory = max(record["peak_memory_bytes"] for record in records) / 2**20
        known = [watts for record in records if (watts := record["energy"]["watt_hours"]) is not None]
        return cls(rule, len(records), sum(times), max(times), memory, sum(known) if known else None)


@dataclass
class Chains:
    """Steps in the order in which cells first rest on them."""

    store: Store
    steps: dict[str, StepView] = field(default_factory=dict)
    _known: dict[tuple[str, ...], list[StepView]] = field(default_factory=dict)

    @classmethod
    def read(cls, results: Path) -> "Chains":
        """The chains of a results folder, by its records."""
        return cls(Store.open(Path(results).resolve()))

    def of(self, files: Sequence[str]) -> list[StepView]:
        """The steps that score files rest on, the latest first."""
        key = tuple(self.store.public(Path(file)) if Path(file).is_absolute() else file for file in files)
        if key not in self._known:
            links = chain_of(self.store, key)
            for link in links:
                self.steps.setdefault(link.output, self._view(link))
            self._known[key] = [self._resolve(link) for link in links]
        return self._known[key]

    def _view(self, link: Link) -> StepView:
        return StepView(len(self.steps) + 1, link.rule, link.output, link.facts, [])

    def _resolve(self, link: Link) -> StepView:
        """The step with the numbers of its parents, which are all known by now."""
        view = self.steps[link.output]
        if not view.parents:
            makers = [self.store.maker(parent) for parent in link.parents]
            outputs = [one.made for one in makers if one]
            view.parents.extend(sorted({self.steps[name].number for name in outputs if name in self.steps}))
        return view

    def fingerprint(self, path: str) -> str:
        """The fingerprint of an output, by its record; empty where that is of the older version."""
        record = self.store.maker(path)
        return str(record.facts.get("fingerprint", "")) if record else ""

    @cached_property
    def costs(self) -> list[CostView]:
        """What each rule took."""
        rules: dict[str, list[Record]] = {}
        for record in self.store.steps:
            rules.setdefault(record.rule, []).append(record)
        return [CostView.of(rule, [one.facts for one in own]) for rule, own in sorted(rules.items())]

"""The steps behind the numbers of the report: each once, and for each cell the numbers of those that it rests on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from preftune.progress import format_seconds
from preftune.provenance.chain import Link, chain_of
from preftune.provenance.records import Record, Store


@dataclass(frozen=True)
class StepView:
    """One step: its number on the page, its rule and output, its record as (name, text), and the steps that it read."""

    number: int
    rule: str
    output: str
    facts: list[tuple[str, str]]
    parents: list[int]


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
        key = tuple(files)
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
            outputs = [next(iter(one.outputs()))["path"] for one in makers if one]
            view.parents.extend(sorted({self.steps[name].number for name in outputs if name in self.steps}))
        return view

    def fingerprint(self, path: str) -> str:
        """The fingerprint of an output, by its record; empty where that is of the older version."""
        record = self.store.maker(path)
        return str(record.facts.get("fingerprint", "")) if record else ""

    @cached_property
    def costs(self) -> list[tuple[str, int, str, str]]:
        """What each rule took: rule, steps, seconds, energy."""
        rules: dict[str, list[Record]] = {}
        for record in {id(one): one for one in self.store.makers.values()}.values():
            rules.setdefault(record.rule, []).append(record)
        return [(rule, len(own), *_sum(own)) for rule, own in sorted(rules.items())]


def _sum(records: Sequence[Record]) -> tuple[str, str]:
    known = [watts for one in records if (watts := one.facts["energy"]["watt_hours"]) is not None]
    seconds = format_seconds(sum(one.facts["time"]["wall_seconds"] for one in records))
    return seconds, f"{sum(known):.1f} Wh" if known else "not measured"

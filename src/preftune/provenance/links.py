"""What became of every link from a step to an input: verified, or why not."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from preftune.provenance.records import FAILING, Fault, Record
from preftune.provenance.store import Store

LINKS = ("verified", "changed", "not_shipped", "failed")
"""What a link from a step to an input can be, as the fields of `StepLinks`."""


@dataclass(frozen=True)
class StepLinks:
    """The inputs of one step by what the audit can say of them.

    verified: what is there is what the step read; changed: a registry or page is another one now, or its step ran again, to the
    same result; not_shipped: it is not in this copy, in whole or in part; failed: it is broken or gone.
    """

    made: str
    verified: tuple[str, ...]
    changed: tuple[str, ...]
    not_shipped: tuple[str, ...]
    failed: tuple[str, ...]


def sort_links(
    store: Store, faults: Sequence[Fault], linked: Iterable[tuple[Record, str, Fault]]
) -> dict[str, StepLinks]:
    """The inputs of every step, by the name of its record.

    Args:
        faults: what is wrong with the outputs of steps: an input is no better than the worst of what lies at or below it.
        linked: what is wrong between a step and an input.
    """
    grades: dict[str, set[str]] = {}
    for fault in faults:
        parts = fault.place.split("/")
        for end in range(1, len(parts) + 1):
            grades.setdefault("/".join(parts[:end]), set()).add(fault.grade)
    between: dict[tuple[str, str], set[str]] = {}
    for step, path, fault in linked:
        between.setdefault((step.name, path), set()).add(fault.grade)
    found = {}
    for step in store.upstream(list(store.makers)):
        kinds: dict[str, list[str]] = {name: [] for name in LINKS}
        for item in step.inputs():
            path = item["path"]
            kinds[_link_state(path, grades.get(path, set()) | between.get((step.name, path), set()))].append(
                path
            )
        found[step.name] = StepLinks(step.made, *(tuple(kinds[name]) for name in LINKS))
    return found


def _link_state(path: str, grades: set[str]) -> str:
    if grades & {*FAILING}:
        return "failed"
    if "absent" in grades or path.startswith("external:"):
        return "not_shipped"
    return "changed" if "note" in grades else "verified"

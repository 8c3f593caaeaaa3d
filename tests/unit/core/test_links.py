"""What an audit says of single links."""

from types import SimpleNamespace
from typing import Any

from preftune.provenance.links import sort_links
from preftune.provenance.records import Fault


def step(name: str, *inputs: str) -> Any:
    return SimpleNamespace(
        name=f"{name}/run.json", made=name, inputs=lambda: [{"path": path} for path in inputs]
    )


def test_a_link_is_no_better_than_the_input_and_what_lies_between() -> None:
    """A folder of which a part is gone, one whose record changed, a registry of another content, a file from outside."""
    scores = step(
        "scores", "data/whole", "data/part", "models/away", "config/cells.tsv", "external:rows", "data/odd"
    )
    other = step("other", "config/cells.tsv", "data/odd")
    store: Any = SimpleNamespace(makers={}, upstream=lambda names: [scores, other])
    faults = [
        Fault("missing", "data/part/train.arrow", "is gone"),
        Fault("absent", "models/away", "is not present"),
        Fault("stale", "tables/race.csv", "was made by other code"),
    ]
    linked: Any = [
        (scores, "config/cells.tsv", Fault("note", "scores", "config/cells.tsv has changed")),
        (scores, "data/odd", Fault("broken", "scores", "was made from another data/odd")),
    ]
    found = sort_links(store, faults, linked)
    links = found["scores/run.json"]
    assert links.verified == ("data/whole",) and links.changed == ("config/cells.tsv",)
    assert links.not_shipped == ("models/away", "external:rows") and links.failed == ("data/part", "data/odd")
    assert found["other/run.json"].verified == (
        "config/cells.tsv",
        "data/odd",
    )  # what is odd is the other step

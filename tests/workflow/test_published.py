"""The published results pass their audit, and every link of them is verified, or known not to be shipped."""

from collections import Counter

import pytest

from preftune.provenance.audit import Audit, audit_results
from preftune.provenance.records import PUBLISHED
from preftune.tables.pages import PAGES


@pytest.fixture(scope="module", params=PAGES)
def audit(request: pytest.FixtureRequest) -> Audit:
    return audit_results(PUBLISHED / request.param, published=True)


def test_nothing_is_broken_and_all_was_made_from_committed_code(audit: Audit) -> None:
    assert not audit.failed, audit.failed[:3]
    assert audit.publishable


def test_every_table_rests_on_scores_that_are_there(audit: Audit) -> None:
    """What is not shipped lies further up: weights, rows, images, and the package of the model."""
    links = {step.made: step for step in audit.links}
    assert not any(step.failed for step in audit.links)
    scored = [step for made, step in links.items() if "/tables/" in made and "costs" not in made]
    assert scored
    away = Counter(name for step in scored for name in step.not_shipped)
    assert not [name for name in away if name.endswith(".json")], away


def test_no_result_comes_from_outside_the_checkout(audit: Audit) -> None:
    assert not [name for step in audit.links for name in step.not_shipped if name.startswith("external:")]

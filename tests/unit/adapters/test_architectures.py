"""No architectural change: every architecture and kind keeps its base model, and the page's table says what was found.

`PREFTUNE_WRITE_DOCS=1 pytest tests/unit/adapters/test_architectures.py` renews the table of docs/adapters.md.
"""

import os
from functools import cache

import pytest

from preftune.adapters.targets import TARGETS
from preftune.tables.pages import fill_markers
from tests.conftest import ROOT
from tests.unit.adapters.architecture_checks import FAMILIES, KINDS, Finding, examine, render

PAGE = ROOT / "docs" / "adapters.md"
finding = cache(examine)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_base_model_stays_as_it_is(family: str, kind: str) -> None:
    found: Finding = finding(family, kind)
    assert found.good, found


def test_the_page_says_what_was_found() -> None:
    found = {(family, kind): finding(family, kind) for family in FAMILIES for kind in KINDS}
    text = PAGE.read_text(encoding="utf-8")
    wanted = fill_markers(text, {"architectures": render(found)}, PAGE.name)
    if os.environ.get("PREFTUNE_WRITE_DOCS"):
        PAGE.write_text(wanted, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == wanted, (
        "PREFTUNE_WRITE_DOCS=1 renews the table of docs/adapters.md"
    )


def test_the_page_names_every_architecture() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in TARGETS if f"`{name}`" not in text] == []

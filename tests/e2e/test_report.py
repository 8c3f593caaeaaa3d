"""The report in a real browser, from a file: nothing is asked for from outside, and a cell opens its chain."""

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from preftune.workflow.plan import FIGURES, TABLES
from tests.e2e.conftest import CONFIG
from tests.e2e.tiny_models import ROOT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium is installed (apt-get install chromium)"
)
REPORT = ROOT / "results/miniature/report.html"


@pytest.fixture(scope="module")
def page(finished: subprocess.CompletedProcess[str]) -> Iterator[Page]:
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
            ],
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: asked.append(f"console: {message.text}"))
        page.goto(REPORT.as_uri())
        page.wait_for_load_state()
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
        yield page
        browser.close()


def test_a_cell_opens_its_chain_down_to_the_fetched_model(page: Page) -> None:
    cell = page.locator("#table-dph-race td.cell:not(.not-run)").first
    chain = cell.locator("ol.chain")
    assert not chain.is_visible()
    cell.locator("summary").click()
    assert chain.is_visible()
    rules = chain.locator("li a").all_inner_texts()
    assert rules[0] == "evaluate_tasks" and "fetch_model" in rules
    chain.locator("li a", has_text="evaluate_tasks").click()
    number = page.url.rpartition("#step-")[2]
    step = page.locator(f"#step-{number}")
    assert step.is_visible(), "the step that the link names is folded"
    text = step.inner_text()
    assert "sha256" in text and "commit" in text and "settings" in text and "made from" in text


def test_every_table_and_figure_has_its_fingerprint(page: Page) -> None:
    notes = page.locator("p.note", has_text="Fingerprint:")
    figures = page.locator("figcaption .note", has_text="Fingerprint:")
    assert notes.count() >= 20
    assert figures.count() == page.locator("figure").count()


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_window(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_snakemakes_own_report_shows_every_table_and_figure(
    finished: subprocess.CompletedProcess[str], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--nolock", "--configfile", CONFIG]
    done = subprocess.run(
        [*command, "--report", str(tmp_path / "report.zip")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    with zipfile.ZipFile(tmp_path / "report.zip") as archive:
        shown = {Path(name).name for name in archive.namelist()}
        pages = b"".join(archive.read(name) for name in archive.namelist() if name.endswith((".html", ".js")))
    for paper, tables in TABLES.items():
        assert {f"{table}.csv" for table in tables} <= shown
        assert {f"{figure}.png" for figure in FIGURES[paper]} <= shown
        assert paper.encode() in pages
    assert b"How to read it" in pages

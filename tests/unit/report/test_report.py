"""The HTML report: one file, nothing from outside, every table and figure, the record behind each cell."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from preftune.errors import PreftuneError
from preftune.figures.settings import ReportSettings
from preftune.files import write_json
from preftune.report.catalogue import FIGURES
from preftune.report.markdown import render_markdown
from preftune.report.pictures import read_gallery
from preftune.report.render import format_duration, render_report
from preftune.settings.report import MultitaskTableSettings
from preftune.tables.alignment import ALIGNMENT_TABLES, alignment_records
from preftune.tables.assemble import Setting, build_records
from preftune.tables.captioner_costs import cost_records
from preftune.tables.captioners import CaptioningTableSettings
from preftune.tables.captioning import captioning_records
from preftune.tables.cells import CAPTIONING_TABLES, COST_TABLES, MULTITASK_TABLES, TABLES, read_cells
from preftune.tables.claims import judge_claims, read_claims
from preftune.tables.lists import ablation_records
from preftune.tables.multitask import multitask_records
from preftune.tables.records import Records
from preftune.tables.scores import ScoreStore
from preftune.tables.settings import AlignmentTableSettings
from preftune.tables.sources import Sources
from tests.records import write_step
from tests.unit.figures import synthetic

ROOT = Path(__file__).parents[3]
TEMPLATE = ROOT / "workflow" / "report" / "report.html.j2"
SETTINGS = ReportSettings(scale="demo", data="embedded")
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
VOID = {"meta", "img", "br", "hr", "input", "link"}


class Page(HTMLParser):
    """Collects ids, addresses, headings and texts, and checks that every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.images_without_text = 0
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.ids += [str(found["id"])] if "id" in found else []
        self.addresses += [
            str(found[key]) for key in ("src", "href", "srcset", "data", "action") if key in found
        ]
        self.images_without_text += tag == "img" and not found.get("alt")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def write_tables(results: Path) -> None:
    """Audit files of every table, made by the real code from synthetic scores."""
    setting = Setting("demo", "embedded")
    cells = read_cells(ROOT / "config" / "cells.tsv")
    synthetic.write_systems(results / "dph" / "scores")
    synthetic.write_captioners(results / "context_peft" / "scores")
    for paper, tables in TABLES.items():
        store = ScoreStore([results / paper / "scores"])
        runs = sorted(store.runs())
        claims = [c for c in read_claims(ROOT / "config" / "claims.tsv", cells) if c.paper == paper]
        made = {"claims": judge_claims(claims, cells, store)}
        for table in tables:
            chosen = [cell for cell in cells if cell.table == table]
            if table in ALIGNMENT_TABLES:
                settings = AlignmentTableSettings(
                    paper="dph", scale="demo", data="embedded", runs=tuple(runs)
                )
                made[table] = alignment_records(
                    table, Sources.read(runs, [results / paper / "scores"]), settings
                )
            elif table in COST_TABLES:
                own = CaptioningTableSettings(
                    paper="context_peft", scale="demo", data="embedded", runs=tuple(runs)
                )
                made[table] = cost_records(own, Records.read([]), Records.read([]))
            elif table in CAPTIONING_TABLES:
                own = CaptioningTableSettings(
                    paper="context_peft", scale="demo", data="embedded", runs=tuple(runs)
                )
                made[table] = captioning_records(table, store, Records.read([]), own)
            elif table in MULTITASK_TABLES:
                shown = MultitaskTableSettings(
                    paper="context_peft", scale="demo", data="embedded", runs=tuple(runs)
                )
                made[table] = multitask_records(store, shown)
            elif table == "ablations":
                made[table] = ablation_records(runs, store, setting)
            else:
                made[table] = build_records(chosen, store, setting)
        for table, records in made.items():
            write_json(
                results / paper / "tables" / f"{table}.audit.json", [record.as_json() for record in records]
            )


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with every table and figure but the rank sweep."""
    folder = tmp_path_factory.mktemp("results")
    write_tables(folder)
    for paper, figures in FIGURES.items():
        (folder / paper / "figures").mkdir()
        for figure in figures:
            if figure != "rank_sweep":
                (folder / paper / "figures" / f"{figure}.png").write_bytes(PIXEL)
    model = folder / "dph/models/sft/seed-0"
    model.mkdir(parents=True)
    (model / "weights").write_text("w")
    time = {"start": "2026-01-01T00:00:00+00:00", "end": "", "wall_seconds": 3725.0, "cpu_seconds": 1.0}
    write_step(folder, "train_sft", "dph/models/sft/seed-0", time=time, peak_memory_bytes=2304 * 2**20)
    write_step(folder, "evaluate_tasks", "dph/scores/sft/seed-0", ("dph/models/sft/seed-0",))
    submission = folder / "dph" / "submission" / "sft" / "seed-0"
    submission.mkdir(parents=True)
    for score, whole in (("log", True), ("reward", False)):
        (submission / f"submission-{score}.zip").write_bytes(b"")
        write_json(submission / f"submission-{score}.run.json", {"facts": {"whole": whole}})
    return folder


@pytest.fixture(scope="module")
def html(results: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of `results`, with a gallery and a list of deviations."""
    folder = tmp_path_factory.mktemp("captions")
    files = synthetic.write_images(folder / "images", 3)
    captions = synthetic.write_captions(folder, "lora-8-af-specific", files)
    deviations = folder / "deviations.md"
    deviations.write_text(
        "# Deviations\n\n| what | why |\n| --- | --- |\n| LaProp | [repo](https://example.org/a) |\n"
    )
    return render_report(
        results, SETTINGS, TEMPLATE, read_gallery([captions], folder / "images", 3), deviations
    )


def test_page_asks_for_nothing_from_outside(html: str) -> None:
    page = Page(html)
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in page.addresses)
    assert not {"script", "link", "iframe", "object", "embed"} & set(page.tags)
    assert "@import" not in html and "url(" not in html
    assert "default-src 'none'" in html


def test_page_holds_every_table_figure_and_anchor(html: str) -> None:
    page = Page(html)
    wanted = {f"table-{paper}-{table}" for paper, tables in TABLES.items() for table in (*tables, "claims")}
    assert wanted <= set(page.ids)
    figures = {f"figure-{paper}-{name}" for paper, names in FIGURES.items() for name in names}
    assert figures - set(page.ids) == {"figure-context_peft-rank_sweep", "figure-context_peft-gallery"}
    assert len(page.ids) == len(set(page.ids))
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)
    assert page.images_without_text == 0
    assert html.index('id="table-dph-claims"') < html.index('id="table-dph-glue"')


def test_page_says_scale_data_and_what_is_missing(html: str) -> None:
    page = Page(html)
    assert "scale: demo" in page.text and "data: embedded" in page.text
    assert "figure rank_sweep: not run at this scale" in page.text
    assert "LoRA-64: 9 of 9 cells" in page.text
    assert "not comparable" in page.text
    assert "Sources: Ours (Vocab), Ours (SFT)" in page.text


def test_cell_shows_value_interval_paper_and_record(html: str) -> None:
    start = html.index('<table class="grid" id="table-context_peft-encoders"')
    text = Page(html[start : html.index("</table>", start) + len("</table>")]).text
    cell = text.split("LoRA-8")[1]
    assert "paper 8.22" in cell
    assert "lora-8-af-specific/seed-0/perplexity.json" in cell
    assert "not run at this scale" in text


def test_times_are_summed_by_rule(html: str) -> None:
    text = Page(html).text
    assert "1 h 02 min" in text and "train_sft" in text and "2304 MB" in text
    assert "2 steps took" in text


def test_a_cell_opens_the_steps_that_it_rests_on(html: str) -> None:
    start = html.index('<table class="grid" id="table-dph-glue"')
    table = html[start : html.index("</table>", start)]
    assert re.search(r'rests on 2 steps.*?#step-1">evaluate_tasks.*?#step-2">train_sft', table, re.S)
    steps = html[html.index('<section id="steps">') :]
    assert 'id="step-2"' in steps and 'made from <a href="#step-2">' in steps
    assert "results/dph/models/sft/seed-0: sha256" in steps
    assert "<svg" in html and "evaluate_tasks (1)</text>" in html


def test_files_for_the_glue_server_are_listed(html: str) -> None:
    text = Page(html).text
    assert "dph/submission/sft/seed-0/submission-log.zip: whole test splits" in text
    assert "dph/submission/sft/seed-0/submission-reward.zip: only a part of each test split" in text


def test_gallery_is_text_and_escaped(html: str) -> None:
    assert html.count("data:image/png;base64,") == len(FIGURES["dph"]) + len(FIGURES["context_peft"]) - 2 + 3
    assert "next to a &lt;small&gt; &amp; green shape" in html


def test_markdown_prints_links_and_escapes_html() -> None:
    text = render_markdown(
        "# A\n\n<script>x</script> [b](https://example.org/?a=1&b=2) ![c](https://example.org/i.png)"
    )
    assert "<h3>A</h3>" in text
    assert "b (https://example.org/?a=1&amp;b=2)" in text
    assert "<script" not in text and "<img" not in text and "href" not in text


def test_durations() -> None:
    assert [format_duration(value) for value in (4.25, 185, 3725)] == ["4.2 s", "3 min 05 s", "1 h 02 min"]


def test_empty_results_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(PreftuneError, match="holds no table and no figure"):
        render_report(tmp_path, SETTINGS, TEMPLATE)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("dph/tables/glue.audit.json", b"[]"),
        ("dph/tables/glue.audit.json", b'[{"table": "glue"}]'),
        ("dph/tables/claims.audit.json", b"{"),
        ("dph/figures/task_scores.png", b""),
    ],
)
def test_damaged_file_is_named(tmp_path: Path, file: str, content: bytes) -> None:
    (tmp_path / "dph" / "figures").mkdir(parents=True)
    (tmp_path / "dph" / "figures" / "loss_landscape.png").write_bytes(PIXEL)
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(PreftuneError, match=path.name.replace(".", r"\.")):
        render_report(tmp_path, SETTINGS, TEMPLATE)

"""Everything that the report shows, gathered from a results folder; what is not there is listed."""

import base64
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from preftune.errors import PreftuneError
from preftune.files import read_json
from preftune.report.catalogue import FIGURES, PAPERS
from preftune.report.cells import ClaimView, TableView, is_dirty, read_audit, view_claim, view_table
from preftune.report.chains import Chains
from preftune.tables.assemble import Setting
from preftune.tables.cells import TABLES
from preftune.tables.claims import ClaimRecord

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class FigureView:
    """One figure: its name, title, the sentence that says what to see, and its PNG as base64."""

    name: str
    title: str
    caption: str
    png: str
    fingerprint: str


@dataclass(frozen=True)
class PaperView:
    """One paper's part of the report."""

    name: str
    title: str
    claims: list[ClaimView]
    claims_dirty: bool
    tables: list[TableView]
    figures: list[FigureView]
    missing: list[str]
    opinions: list[dict[str, Any]] = field(default_factory=list)
    submissions: list[tuple[str, bool]] = field(default_factory=list)


def audit_path(results: Path, paper: str, table: str) -> Path:
    """Where a table's records lie."""
    return results / paper / "tables" / f"{table}.audit.json"


def list_report_files(results: Path) -> list[Path]:
    """Every file of a results folder that the report reads, sorted."""
    found = [path for paper in PAPERS for path in (results / paper / "tables").glob("*.audit.json")]
    found += [figure_path(results, paper, name) for paper, names in FIGURES.items() for name in names]
    found += [
        *(results / "dph" / "second_opinion").glob("*/seed-*.json"),
        *list_submissions(results, "dph"),
    ]
    return sorted(path for path in found if path.is_file() and not path.name.endswith(".run.json"))


def figure_path(results: Path, paper: str, figure: str) -> Path:
    """Where a figure lies."""
    return results / paper / "figures" / f"{figure}.png"


def embed_png(path: Path) -> str:
    """Base64 text of a PNG; a file that is no PNG is an error."""
    data = path.read_bytes()
    if not data.startswith(PNG_MAGIC):
        raise PreftuneError(f"{path} is empty or not a PNG: draw the figure again.")
    return base64.b64encode(data).decode()


def read_paper(results: Path, paper: str, setting: Setting, chains: Chains) -> PaperView:
    """Claims, tables, figures and second opinions of one paper, and what of them is missing."""
    missing = []
    claims: list[ClaimView] = []
    claims_audit = audit_path(results, paper, "claims")
    if claims_audit.is_file():
        claims = [view_claim(record, chains) for record in read_audit(claims_audit, ClaimRecord)]
    else:
        missing.append("the claims: not run at this scale")
    tables = []
    for name in TABLES[paper]:
        audit = audit_path(results, paper, name)
        if audit.is_file():
            tables.append(view_table(audit, setting, chains))
        else:
            missing.append(f"table {name}: not run at this scale")
    figures = []
    for name, (title, caption) in FIGURES[paper].items():
        path = figure_path(results, paper, name)
        if path.is_file():
            mark = chains.fingerprint(chains.store.public(path.resolve()))
            figures.append(FigureView(name, title, caption, embed_png(path), mark))
        else:
            missing.append(f"figure {name}: not run at this scale")
    dirty = claims_audit.is_file() and is_dirty(claims_audit)
    opinions, submissions = read_opinions(results, paper), read_submissions(results, paper)
    return PaperView(paper, PAPERS[paper], claims, dirty, tables, figures, missing, opinions, submissions)


def read_opinions(results: Path, paper: str) -> list[dict[str, Any]]:
    """Comparisons of our scorer with lm-eval's, each with the run it was made on."""
    files = sorted((results / paper / "second_opinion").glob("*/seed-*.json"))
    files = [path for path in files if not path.name.endswith(".run.json")]
    return [
        {"run": path.parent.name, **comparison}
        for path in files
        for comparison in read_json(path)["comparisons"]
    ]


def list_submissions(results: Path, paper: str) -> list[Path]:
    """Files for the GLUE server."""
    return sorted((results / paper / "submission").glob("*/seed-*/submission-*.zip"))


def read_submissions(results: Path, paper: str) -> list[tuple[str, bool]]:
    """Each file for the GLUE server, and whether it answers the whole test splits, by its record."""
    return [
        (
            path.relative_to(results).as_posix(),
            bool(read_json(path.with_suffix(".run.json"))["facts"]["whole"]),
        )
        for path in list_submissions(results, paper)
    ]

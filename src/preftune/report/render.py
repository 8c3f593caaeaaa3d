"""The report as one HTML page that asks for nothing from outside: template, texts and images in one file."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from preftune.errors import PreftuneError
from preftune.figures.settings import ReportSettings
from preftune.report.catalogue import PAPERS
from preftune.report.chains import Chains, CostView
from preftune.report.collect import PaperView, read_paper
from preftune.report.graph import draw_graph
from preftune.report.markdown import render_markdown
from preftune.report.pictures import PictureView
from preftune.tables.assemble import Setting


def load_template(path: Path) -> Template:
    """The page's template, with escaping on and unknown names refused."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["duration"] = format_duration
    try:
        return environment.from_string(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise PreftuneError(f"{path} does not exist: restore the report's template from git.") from error


def format_duration(seconds: float) -> str:
    """`4.2 s`, `3 min 05 s` or `1 h 02 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def summarise(papers: Sequence[PaperView], costs: Sequence[CostView]) -> list[str]:
    """The sentences at the top: verdicts of the claims, cells that were run, and the time that it took."""
    verdicts = Counter(claim.verdict for paper in papers for claim in paper.claims)
    cells = [
        cell for paper in papers for table in paper.tables for _, row in table.rows for cell in row if cell
    ]
    ours = [cell for cell in cells if cell.value]
    lines = []
    if verdicts:
        counts = "; ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
        lines.append(f"Of {verdicts.total()} claims: {counts}.")
    if ours:
        run = sum(cell.run for cell in ours)
        lines.append(f"{run} of {len(ours)} cells that this project can fill were run at this scale.")
    if costs:
        total = sum(cost.seconds for cost in costs)
        steps = sum(cost.steps for cost in costs)
        lines.append(f"{steps} steps took {format_duration(total)} of machine time, one after the other.")
    return lines


def render_report(
    results: Path,
    settings: ReportSettings,
    template: Path,
    pictures: Sequence[PictureView] = (),
    deviations: Path | None = None,
) -> str:
    """HTML of the report.

    Args:
        results: folder with `<paper>/tables`, `<paper>/figures` and the records of all steps.
        settings: scale and data, printed in the title.
        template: Jinja2 template of the page.
        pictures: images of the gallery; none leaves the drawn gallery alone.
        deviations: Markdown file with the deviations from the papers.
    """
    setting = Setting(settings.scale, settings.data)
    chains = Chains.read(results)
    papers = [read_paper(Path(results), paper, setting, chains) for paper in PAPERS]
    if not any(paper.claims or paper.tables or paper.figures for paper in papers):
        raise PreftuneError(f"{results} holds no table and no figure: run `make results` first.")
    text = deviations.read_text(encoding="utf-8") if deviations is not None else ""
    return load_template(template).render(
        settings=settings,
        incomparable=setting.incomparable,
        summary=summarise(papers, chains.costs),
        papers=papers,
        pictures=pictures,
        steps=chains.steps.values(),
        costs=chains.costs,
        graph=Markup(draw_graph(chains.store)),
        total=sum(cost.seconds for cost in chains.costs),
        deviations=Markup(render_markdown(text)),
    )

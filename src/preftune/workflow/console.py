"""What the user reads at the start and at the end of a workflow."""

import re
import sys
import time
from pathlib import Path

from preftune.progress import format_seconds
from preftune.provenance.digest import ROOT
from preftune.workflow.config import relative_to_root
from preftune.workflow.outputs import find_stale, is_current, list_selected
from preftune.workflow.plan import Plan
from preftune.workflow.resources import Forecast
from preftune.workflow.targets import Targets

_started = time.monotonic()


def say(text: str) -> None:
    """One line on the terminal, beside Snakemake's own output."""
    print(text, file=sys.stderr, flush=True)


def warn_of_folders(plan: Plan) -> None:
    """A folder of raw rows that is not there, or that nothing would be read from."""
    config = plan.config
    if config.data_root and config.data != "local" and not config.local_datasets:
        say(
            f"preftune: data_root {config.data_root} is not read: with data: {config.data} name the data sets that stand there in "
            "local_datasets, or set data: local."
        )
    elif config.data_root and not relative_to_root(config.data_root, ROOT).is_dir():
        say(
            f"preftune: data_root {config.data_root} does not exist: correct it; what needs its rows cannot be made."
        )


def announce_plan(plan: Plan, targets: Targets) -> None:
    """Scale, data, runs, and where results go."""
    config = plan.config
    say(
        f"preftune: scale {config.scale}, data {plan.label}, {len(plan.registry)} runs, results in {targets.results}/"
    )
    stale = find_stale(plan)
    if stale:
        say(
            f"preftune: {len(stale)} results were made by other code, settings or data than now, {stale[0]} first: `make "
            "results` makes them again, `make why-rerun` says why."
        )


def announce_forecast(plan: Plan, forecast: Forecast) -> None:
    """Hours of computing of what was asked for and is not there yet."""
    jobs = [job for output, job in dict(list_selected(plan)).items() if not is_current(output, job)]
    if jobs:
        say(f"preftune: {len(jobs)} results are not there yet; predicted: {forecast.describe(jobs)}")


def summarise_results(plan: Plan, targets: Targets) -> None:
    """Names of the tables, figures and the report, and the first table in full."""
    folder = targets.results
    for paper in plan.papers:
        claims = ROOT / folder / paper / "tables" / "claims.md"
        if claims.is_file():
            say(f"\n{claims.read_text().strip()}\n")
        for kind, names, suffix in (
            ("tables", plan.tables[paper], "md"),
            ("figures", plan.figures[paper], "png"),
        ):
            there = [name for name in names if (ROOT / folder / paper / kind / f"{name}.{suffix}").is_file()]
            if there:
                say(f"{paper} {kind}: {folder}/{paper}/{kind}/{{{','.join(there)}}}.{suffix}")
    report = ROOT / folder / "report.html"
    if report.is_file():
        say(f"report: {folder}/report.html (open it in a browser)")
    say(
        f"finished in {format_seconds(time.monotonic() - _started)}; time and memory of each rule: {folder}/timings/"
    )


def explain_log(logs: str | list[str]) -> None:
    """Say what failed; each step has already printed the end of its own log. Snakemake gives one log or a list of them."""
    log = logs if isinstance(logs, str) else next(iter(logs), "")
    text = Path(log).read_text(errors="replace") if log and Path(log).is_file() else ""
    rules = sorted(set(re.findall(r"Error in rule (\w+)", text)))
    what = f"step {', '.join(rules)} failed" if rules else "the workflow stopped"
    say(
        f"\nerror: {what}; what was finished is kept, the same command continues from there. Whole log: {log}"
    )

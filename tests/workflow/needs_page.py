"""The table of docs/cluster.md: what every stage asks for at each scale."""

from pathlib import Path

import yaml

from preftune.workflow.jobs import Job
from preftune.workflow.outputs import list_outputs
from preftune.workflow.plan import Plan
from preftune.workflow.resources import STAGES, Forecast
from preftune.workflow.targets import load_plan

ROOT = Path(__file__).resolve().parents[2]
SCALES = {
    "paper": "config/paper.yaml",
    "small-gpu": "config/small-gpu.yaml",
    "small-cpu": "config/small-cpu.yaml",
    "demo": "config.yaml",
    "released": "config/released.yaml",
}


def plan_of(scale: str, **changes: object) -> Plan:
    """The plan of a scale, of which nothing needs to be there."""
    file = SCALES[scale]
    raw = yaml.safe_load((ROOT / file).read_text())
    return load_plan(raw | {"data_root": "tests"} | changes, [file])


def render() -> str:
    """The table in Markdown: a row a stage, a column a scale."""
    columns = [_column(plan_of(scale)) for scale in SCALES]
    heads = [f"{scale} ({column.pop('all')})" for scale, column in zip(SCALES, columns, strict=True)]
    lines = [f"| stage | {' | '.join(heads)} |", "| --- |" + " --- |" * len(SCALES)]
    for stage in STAGES:
        cells = [column.get(stage, "–") for column in columns]
        lines.append(f"| {stage if '_' in stage else f'{stage}_*'} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _column(plan: Plan) -> dict[str, str]:
    forecast, stages = Forecast(plan), dict[str, list[Job]]()
    for job in [*dict(list_outputs(plan)).values(), plan.audit()]:
        stages.setdefault(job.rule if job.rule in STAGES else job.rule.partition("_")[0], []).append(job)
    everything = [job for jobs in stages.values() for job in jobs]
    cells = {stage: _cell(forecast, jobs) for stage, jobs in stages.items()}
    return cells | {"all": f"{len(everything):,} jobs, {forecast.describe(everything).partition(' (')[0]}"}


def _cell(forecast: Forecast, jobs: list[Job]) -> str:
    """`75 × (34 GB, 7:30 h), 199 h`: the most that one of the jobs asks for, and what they take together."""
    needs = [forecast.of(job) for job in jobs]
    memory, minutes = max(one.memory for one in needs), max(one.runtime for one in needs)
    hours = sum(one.hours for one in needs)
    asked = f"{memory // 1000} GB, {minutes // 60}:{minutes % 60:02} h"
    return f"{len(jobs)} × ({asked}), {hours:,.1f} h"

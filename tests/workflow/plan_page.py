"""The tables of docs/plan.md: what each scale costs, and how far such predictions were off for what was published."""

from collections.abc import Mapping

from preftune.commands.plan import NAMES, format_bytes, format_minutes
from preftune.provenance.records import PUBLISHED
from preftune.workflow.accuracy import Comparison, compare_published
from preftune.workflow.costs import Cost, add_up, count_costs
from preftune.workflow.plan import Plan
from preftune.workflow.resources import format_hours
from tests.workflow.needs_page import SCALES, plan_of

HEADS = [
    "scale",
    "paper",
    "jobs",
    "GPU hours",
    "CPU hours",
    "longest chain",
    "disk",
    "download",
    "costliest stages",
]
LARGEST = 3
"""Stages of a paper that are named."""


def render_costs() -> str:
    """A row a scale and paper, and one for all of a scale."""
    lines = [_line(HEADS), "| --- | --- |" + " ---: |" * (len(HEADS) - 3) + " --- |"]
    for scale in SCALES:
        plan = plan_of(scale)
        costs = count_costs(plan)
        for paper, stages in costs.stages.items():
            named = ", ".join(_largest(plan, stages))
            cells = _cells(add_up(stages.values()), "")
            lines.append(_line([scale, NAMES.get(paper, paper), *cells, named]))
        cells = _cells(costs.total, format_minutes(costs.chain_hours))
        lines.append(_line([f"**{scale}**", "**all**", *cells, ""]))
    return "\n".join(lines)


def _largest(plan: Plan, stages: Mapping[str, Cost]) -> list[str]:
    def hours(cost: Cost) -> float:
        return cost.gpu_hours if plan.config.training_gpus else cost.cpu_hours

    order = sorted(stages, key=lambda stage: -hours(stages[stage]))
    return [
        f"{stage} {format_hours(hours(stages[stage]))} h"
        for stage in order[:LARGEST]
        if hours(stages[stage]) > 0.05
    ]


def _cells(cost: Cost, chain: str) -> list[str]:
    hours = [format_hours(one) if one else "–" for one in (cost.gpu_hours, cost.cpu_hours)]
    return [f"{cost.jobs:,}", *hours, chain, format_bytes(cost.disk), format_bytes(cost.download)]


def render_seeds() -> str:
    """Minutes of small-gpu by how many of its seeds are made, the steps of the CPU on eight cores."""
    lines = [_line(["seeds", "jobs", "GPU", "CPU steps, on 8 cores"]), "| --- | ---: | ---: | ---: |"]
    for seeds in (1, 3, None):
        total = count_costs(plan_of("small-gpu", only={"seeds": seeds})).total
        minutes = [f"{60 * hours:.0f} min" for hours in (total.gpu_hours, total.cpu_hours / 8)]
        name = f"{seeds} (`only={{seeds: {seeds}}}`)" if seeds else "all"
        lines.append(_line([name, f"{total.jobs:,}", *minutes]))
    return "\n".join(lines)


def render_error(scale: str) -> str:
    """A row a stage that has records, one for all that are compared, and the names of the others below it."""
    found = compare_published(SCALES[scale], PUBLISHED / scale, {"data_root": "tests"})
    heads = [
        "stage",
        "jobs planned",
        "recorded",
        "minutes predicted",
        "measured",
        "ratio",
        "MB predicted",
        "measured",
    ]
    lines = [_line(heads), "| --- |" + " ---: |" * (len(heads) - 1)]
    lines += [_line([stage, *_compared(one)]) for stage, one in found.items() if one.done]
    lines.append(_line(["**all**", *_compared(sum(found.values(), Comparison()))]))
    others = [stage for stage, one in found.items() if not one.done]
    return "\n".join([*lines, "", f"Without a published record: {', '.join(others)}."])


def _compared(one: Comparison) -> list[str]:
    minutes = [f"{60 * hours:,.1f}" for hours in (one.predicted, one.measured)]
    sizes = [f"{size / 1e6:,.2f}" for size in (one.predicted_disk, one.measured_disk)]
    return [f"{one.jobs:,}", f"{one.done:,}", *minutes, f"{one.ratio:.2f}", *sizes]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"

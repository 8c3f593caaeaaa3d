"""`preftune plan`: what a config costs before anything runs: jobs, hours, disk and downloads, predicted from formulas."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from preftune.commands.config import plan_anywhere
from preftune.errors import PreftuneError
from preftune.provenance.records import PUBLISHED
from preftune.workflow.accuracy import Comparison, compare_published
from preftune.workflow.costs import Cost, Costs, add_up, count_costs
from preftune.workflow.plan import Plan
from preftune.workflow.resources import CPU_RATE, GPU_RATE, format_hours
from preftune.workflow.work import DOWNLOAD

WIDTH = 120
"""Columns where the output is no terminal."""
NAMES = {"dph": "DPH", "context_peft": "Context-PEFT"}


def show_plan(configfile: str, values: Mapping[str, Any]) -> None:
    """Print the table, the longest chain, the assumptions, and how far such predictions were off for the published demo."""
    plan = plan_anywhere(configfile, values)
    costs, console = count_costs(plan), Console(highlight=False)
    if not console.is_terminal:
        console = Console(width=WIDTH, highlight=False)
    lines = [describe_chain(costs), describe_disk(costs), "", *describe_assumptions(plan), describe_error()]
    console.print(Group(_table(plan, costs), *map(Text, lines)))


def _table(plan: Plan, costs: Costs) -> Table:
    table = Table(
        title=f"{plan.config.scale} ({plan.source})", title_justify="left", box=None, pad_edge=False
    )
    heads = column_names(plan)
    for place, head in enumerate(heads):
        table.add_column(head, justify="right" if place else "left", no_wrap=True)
    for cells in list_rows(plan, costs):
        style = "bold" if not cells[0].startswith(" ") else None
        table.add_row(*cells, style=style)
    return table


def column_names(plan: Plan) -> list[str]:
    """Heads of the table's columns; hours of GPUs stand apart where the config asks for some."""
    hours = ["GPU hours", "CPU hours"] if plan.config.training_gpus else ["CPU hours"]
    return ["stage", "jobs", "not done", *hours, "longest job", "disk", "download"]


def list_rows(plan: Plan, costs: Costs) -> list[list[str]]:
    """Cells of a row a paper, followed by its stages (indented), and of the sum."""
    rows = []
    for paper, stages in costs.stages.items():
        rows.append([NAMES.get(paper, paper), *_cells(plan, add_up(stages.values()))])
        for stage, cost in stages.items():
            name = stage if "_" in stage else f"{stage}_*"
            rows.append([f"  {name}", *_cells(plan, cost)])
    return [*rows, ["all", *_cells(plan, costs.total)]]


def _cells(plan: Plan, cost: Cost) -> list[str]:
    hours = [cost.gpu_hours, cost.cpu_hours] if plan.config.training_gpus else [cost.cpu_hours]
    return [
        f"{cost.jobs:,}",
        f"{cost.left:,}",
        *(format_hours(one, 2) if one else "–" for one in hours),
        format_minutes(cost.longest),
        format_bytes(cost.disk),
        format_bytes(cost.download),
    ]


def format_minutes(hours: float) -> str:
    """`7:05 h`, or seconds below a minute: `25 s`."""
    seconds = round(3600 * hours)
    return f"{seconds} s" if seconds < 60 else f"{seconds // 3600}:{seconds % 3600 // 60:02} h"


def format_bytes(size: float) -> str:
    """`1.3 TB`, `23 GB`, `540 MB`; less than one is `–` where there is nothing."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if size >= unit:
            return f"{size / unit:,.1f} {name}" if size < 10 * unit else f"{size / unit:,.0f} {name}"
    return "< 1 MB" if size else "–"


def describe_chain(costs: Costs) -> str:
    """The jobs that follow on one another: the time that no number of machines shortens."""
    rules = list(dict.fromkeys(job.rule for job in costs.chain))
    return f"Longest chain, with machines without limit: {format_minutes(costs.chain_hours)} ({', '.join(rules)})."


def describe_disk(costs: Costs) -> str:
    """What a disk must hold in the end, and while trainings run."""
    total = costs.total
    text = f"Disk: {format_bytes(total.disk)} in the end"
    if total.scratch:
        text += f", and checkpoints of up to {format_bytes(total.scratch)} for each training while it runs"
    return f"{text}. Download: {format_bytes(total.download)}."


def describe_assumptions(plan: Plan) -> list[str]:
    """By what was counted, in three lines."""
    machine = (
        f"a GPU computes {GPU_RATE / 1e12:.0f} TFLOP/s (30 % of an A100's in bfloat16; not measured yet), a CPU thread"
        if plan.config.training_gpus
        else "a CPU thread computes"
    )
    return [
        f"Predicted, not measured: operations = 2 x parameters x tokens to read, 6 x to train; {machine} "
        f"{CPU_RATE / 1e9:.0f} GFLOP/s.",
        "Rows are the data sets' official ones within the config's limits, tokens mean lengths; weights are kept as float32, "
        "features as float16.",
        f"Downloads at {DOWNLOAD / 1e6:.0f} MB/s; a stage begins when what it reads is there; queues and failures are not in it.",
    ]


def describe_error() -> str:
    """How far such predictions were off for the demo's published records."""
    try:
        total = sum(compare_published("config.yaml", PUBLISHED / "demo", {}).values(), Comparison())
    except PreftuneError as error:
        return f"The prediction's error on the demo is unknown: {error}"
    disk = total.predicted_disk / total.measured_disk
    return (
        f"On the published demo: {format_hours(total.predicted, 2)} CPU hours predicted, {format_hours(total.measured, 2)} measured "
        f"(x {total.ratio:.2f}), disk x {disk:.2f}, {total.done} of {total.jobs} jobs compared; by stage: docs/plan.md."
    )

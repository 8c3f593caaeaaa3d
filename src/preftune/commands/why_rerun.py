"""`preftune why-rerun`: which stages would run, why, and what that will cost, before anything runs."""

from collections.abc import Sequence

from preftune.progress import format_seconds
from preftune.workflow.outputs import list_selected
from preftune.workflow.plan import Plan
from preftune.workflow.reasons import Stage, find_stages
from preftune.workflow.resources import Forecast

SHOWN = 4
"""Outputs of a group that are named."""


def explain_reruns(plan: Plan) -> str:
    """Stages that would run, those of one rule with the same reasons together, and the sum of their costs."""
    stages, jobs = find_stages(plan), dict(list_selected(plan))
    if not stages:
        return f"Nothing would run: all {len(jobs)} results of {plan.source} are what its code, settings and data give."
    groups: dict[tuple[object, ...], list[Stage]] = {}
    for stage in stages:
        groups.setdefault((stage.rule, stage.reasons if stage.own else "follows"), []).append(stage)
    lines = [f"{len(stages)} of {len(jobs)} results would be made again: {describe_cost(stages)}."]
    predicted = Forecast(plan).describe(jobs[stage.output] for stage in stages)
    lines.append(f"Predicted from the config: {predicted}.")
    for own in (True, False):
        for group in (group for group in groups.values() if group[0].own == own):
            lines += ["", *_describe(group)]
    return "\n".join(lines)


def _describe(group: Sequence[Stage]) -> list[str]:
    names = [stage.output for stage in group[:SHOWN]]
    more = f" and {len(group) - SHOWN} more" if len(group) > SHOWN else ""
    lines = [f"{group[0].rule} ({len(group)}; {describe_cost(group)}): {', '.join(names)}{more}"]
    for says, difference in group[0].reasons:
        lines.append(f"    {says}")
        lines += [f"        {line}" for line in difference]
    return lines


def describe_cost(stages: Sequence[Stage]) -> str:
    """`about 14:20 of computing, 0.0 GPU hours, 24 MB`, by what the same stages took before."""
    known = [stage.cost for stage in stages if stage.cost is not None]
    if not known:
        return "cost unknown, nothing like it has run"
    seconds, hours, size = (
        sum(getattr(cost, name) for cost in known) for name in ("seconds", "gpu_hours", "bytes")
    )
    text = f"about {format_seconds(seconds)} of computing, {hours:.1f} GPU hours, {size / 1e6:.1f} MB"
    unknown = len(stages) - len(known)
    return text + (f", and {unknown} whose cost is unknown" if unknown else "")

"""The table of docs/analysis.md: differences that small-cpu can detect, from its planned items and seeds."""

from preftune.stats.power import detectable_difference
from preftune.workflow.plan import Plan

DISAGREEMENT = (0.1, 0.2, 0.4)
"""Shares of questions on which two systems differ."""
DEVIATIONS = (0.1, 0.2, 0.4)
"""Standard deviations over images of the difference of two captioners, in nats a token."""
POINT = 0.01
"""Standard deviation of a system's mean over seeds: one point, or 0.01 nats a token."""
SUITES = {
    "one task": ("sst2",),
    "GLUE": ("glue",),
    "RACE": ("race",),
    "GPT4All suite": ("gpt4all",),
    "all three": ("glue", "race", "gpt4all"),
    "held-out pairs": ("preference",),
}


def render_detectable(plan: Plan) -> str:
    """A row a set of questions and number of seeds, then the captions."""
    heads = [f"{share:.0%} of the questions" for share in DISAGREEMENT]
    lines = [
        _line(["answers that differ", "items", "seeds", *heads]),
        "| --- | ---: | ---: |" + " ---: |" * 3,
    ]
    for name, suites in SUITES.items():
        items = [
            count
            for task, count in count_items(plan).items()
            if {task, plan.tasks[task]["suite"]} & {*suites}
        ]
        for run in ("dph-joint", "dph-frozen"):
            seeds = len(plan.run(run).seeds)
            found = [100 * detectable_difference(items, share, seeds, POINT) for share in DISAGREEMENT]
            lines.append(_line([name, str(sum(items)), str(seeds), *(f"{one:.1f} points" for one in found)]))
    images, seeds = plan.context_peft.captions.limit["test"], len(plan.run("lora-8-af-specific").seeds)
    heads = [f"{deviation} nats a token" for deviation in DEVIATIONS]
    lines += [
        "",
        _line(["deviation over images", "images", "seeds", *heads]),
        "| --- | ---: | ---: |" + " ---: |" * 3,
    ]
    found = [100 * detectable_difference([images], one**2, seeds, POINT) for one in DEVIATIONS]
    lines.append(_line(["caption perplexity", str(images), str(seeds), *(f"{one:.1f} %" for one in found)]))
    return "\n".join(lines)


def count_items(plan: Plan) -> dict[str, int]:
    """Questions of each task: those of the official split, or the limit; pairs have no official split of their own."""
    limit = plan.config.dph.evaluation.limit
    assert limit is not None
    counts = {}
    for task in plan.config.dph.evaluation.tasks:
        row = plan.tasks[task]
        stated = plan.datasets[row["dataset"]]["counts"]
        counts[task] = min(limit, stated.get(row["split"], limit))
    return counts


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"

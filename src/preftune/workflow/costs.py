"""What a plan costs: jobs, hours, the longest chain, disk and downloads, summed by paper and stage."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

from preftune.workflow.jobs import Job
from preftune.workflow.outputs import is_current
from preftune.workflow.plan import Plan
from preftune.workflow.resources import Forecast, stage_of
from preftune.workflow.state import list_stages

SHARED = "both papers"
PAPERS = ("dph", "context_peft", SHARED)


@dataclass(frozen=True)
class Cost:
    """Of some jobs.

    Attributes:
        jobs: their number.
        left: those whose result is not there, or is another code's, config's or data's.
        gpu_hours: predicted, times the GPUs that each holds.
        cpu_hours: predicted, of those without a GPU.
        longest: predicted hours of the longest one.
        disk: bytes of what they leave behind.
        scratch: bytes of the checkpoints of the one with the most, while it runs.
        download: bytes that they fetch.
    """

    jobs: int = 0
    left: int = 0
    gpu_hours: float = 0
    cpu_hours: float = 0
    longest: float = 0
    disk: float = 0
    scratch: float = 0
    download: float = 0

    def __add__(self, other: "Cost") -> "Cost":
        """Everything is summed, but for what only one job has at a time."""
        pairs = {one.name: (getattr(self, one.name), getattr(other, one.name)) for one in fields(self)}
        kinds = {"longest": max, "scratch": max}
        return Cost(**{name: kinds.get(name, sum)(pair) for name, pair in pairs.items()})  # type: ignore[operator]


@dataclass(frozen=True)
class Costs:
    """Of a plan: of each paper's stages, in the order of the workflow, and its longest chain."""

    stages: Mapping[str, Mapping[str, Cost]]
    chain: tuple[Job, ...]
    chain_hours: float

    def paper(self, name: str) -> Cost:
        """All stages of a paper."""
        return add_up(self.stages[name].values())

    @property
    def total(self) -> Cost:
        """Everything."""
        return add_up(map(self.paper, self.stages))


def add_up(costs: Iterable[Cost]) -> Cost:
    """The sum of some costs."""
    return sum(costs, Cost())


def count_costs(plan: Plan) -> Costs:
    """Count every job of the part of the plan that was asked for, once; nothing but its results' records is read."""
    forecast, found = Forecast(plan), dict[str, dict[str, Cost]]()
    stages = list_stages(plan)
    for stage in stages:
        own, name = found.setdefault(_paper_of(stage.output, plan), {}), stage_of(stage.job.rule)
        own[name] = own.get(name, Cost()) + _cost_of(forecast, stage.output, stage.job)
    chain = find_chain(forecast, [stage.job for stage in stages])
    hours = sum(forecast.of(job).wall for job in chain)
    return Costs({paper: found[paper] for paper in PAPERS if paper in found}, chain, hours)


def _cost_of(forecast: Forecast, output: str, job: Job) -> Cost:
    needs, left = forecast.of(job), int(not is_current(output, job))
    gpu, cpu = (needs.hours, 0.0) if needs.gpus else (0.0, needs.hours)
    return Cost(1, left, gpu, cpu, needs.wall, needs.disk, needs.scratch, needs.download)


def _paper_of(output: str, plan: Plan) -> str:
    """The paper in whose folder of the results an output lies."""
    first = output.removeprefix(f"{plan.config.results}/").partition("/")[0]
    return first if first in PAPERS else SHARED


def find_chain(forecast: Forecast, jobs: Iterable[Job]) -> tuple[Job, ...]:
    """The jobs that follow on one another for the longest time: so long all takes, however many machines there are."""
    ends: dict[str, float] = {}
    before: dict[str, Job | None] = {}
    last, waiting = None, list(jobs)
    while waiting:
        job = waiting[-1]
        unknown = [parent for parent in job.parents if parent.identity not in ends]
        if unknown:
            waiting += unknown
            continue
        waiting.pop()
        latest = max(job.parents, key=lambda parent: ends[parent.identity], default=None)
        before[job.identity] = latest
        ends[job.identity] = forecast.of(job).wall + (ends[latest.identity] if latest else 0)
        if last is None or ends[job.identity] > ends[last.identity]:
            last = job
    chain = []
    while last is not None:
        chain.append(last)
        last = before[last.identity]
    return tuple(reversed(chain))

"""Two contestants on the same work, in turn: ratios hold where a machine's speed drifts, absolute times do not."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, TypeVar

import torch

from preftune.errors import PreftuneError
from preftune.progress import track

W = TypeVar("W")


@dataclass
class Row:
    """One comparison. Ratios are theirs / ours in time or memory: above 1 ours is better.

    ours, theirs: medians in `unit`; for a rate the work of a batch over its time. target: the ratio that the project
    promises, None for a comparison that is only shown. model_flops_utilisation: ours, on CUDA only.
    """

    name: str
    peer: str
    unit: str
    ours: float
    theirs: float
    ratio_min: float
    ratio_median: float
    ratio_max: float
    target: float | None
    rounds: int
    cpu_ratio_median: float | None = None
    model_flops_utilisation: float | None = None
    check: dict[str, float] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    commit: str | None = None

    @property
    def kept(self) -> bool:
        """Whether the promised ratio is reached; true where none is promised."""
        return self.target is None or self.ratio_median >= self.target


def alternate(
    name: str,
    peer: str,
    unit: str,
    target: float | None,
    batches: Sequence[W],
    theirs: Callable[[W], Sequence[float]],
    ours: Callable[[W], Sequence[float]],
    work: Callable[[W], float],
    tolerance: float,
) -> Row:
    """Time both on every batch, in turn; the first batch warms both up and is not counted.

    Both return what they computed: a loss, or log-probabilities. `work` is the size of a batch in `unit` x s.

    Raises:
        PreftuneError: they computed different things: a difference exceeds `tolerance`.
    """
    wall: list[tuple[float, float]] = []
    cpu: list[float] = []
    largest = 0.0
    for number, batch in enumerate(track(batches, name, unit="round")):
        their_wall, their_cpu, their_value = _time(theirs, batch)
        our_wall, our_cpu, our_value = _time(ours, batch)
        differences = [abs(a - b) for a, b in zip(their_value, our_value, strict=True)]
        difference = math.nan if any(map(math.isnan, differences)) else max(differences)
        if not difference <= tolerance:  # also NaN, which equals nothing
            raise PreftuneError(
                f"{name}, round {number}: what {peer} and preftune computed differs by {difference:.6f}; a benchmark "
                "whose sides do different work says nothing: find out why."
            )
        largest = max(largest, difference)
        if number:
            wall.append((their_wall, our_wall))
            cpu.append(their_cpu / our_cpu)
    ratios = sorted(theirs / ours for theirs, ours in wall)
    sizes = [work(batch) for batch in batches[1:]]
    return Row(
        name=name,
        peer=peer,
        unit=unit,
        ours=median(size / ours for size, (_, ours) in zip(sizes, wall, strict=True)),
        theirs=median(size / theirs for size, (theirs, _) in zip(sizes, wall, strict=True)),
        ratio_min=ratios[0],
        ratio_median=median(ratios),
        ratio_max=ratios[-1],
        target=target,
        rounds=len(ratios),
        cpu_ratio_median=median(cpu),
        check={"largest_difference": largest, "tolerance": tolerance},
    )


def _time(run: Callable[[W], Sequence[float]], batch: W) -> tuple[float, float, Sequence[float]]:
    wall, cpu = time.perf_counter(), time.process_time()
    value = run(batch)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - cpu, value

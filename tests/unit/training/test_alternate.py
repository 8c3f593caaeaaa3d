"""The benchmarks' own arithmetic: two sides in turn, the table of their ratios, and the inputs that they get."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from preftune.bench import alternate as module
from preftune.bench.alternate import Row, alternate
from preftune.bench.inputs import make_answers, make_pairs
from preftune.bench.report import complete, promise, render, write_rows, write_table
from preftune.errors import PreftuneError
from preftune.files import read_json

NAN = float("nan")
Side = Callable[[int], Sequence[float]]


def race(
    theirs: Side, ours: Side, rounds: int = 3, tolerance: float = 0.1, target: float | None = 2.0
) -> Row:
    """A warm-up and `rounds` rounds over the batches 0, 1, ..., batch i being of size 100 i."""
    batches = range(rounds + 1)
    return alternate(
        "step", "peer", "tokens/s", target, batches, theirs, ours, lambda i: 100.0 * i, tolerance
    )


class Clock:
    """Stands for `time` in the timing: a side takes what it is told to, on the wall and in the process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall = self.cpu = 100.0
        clocks = {"perf_counter": lambda: self.wall, "process_time": lambda: self.cpu}
        monkeypatch.setattr(module, "time", SimpleNamespace(**clocks))

    def side(self, wall: Sequence[float], cpu: Sequence[float] | None = None) -> Side:
        """A side that takes these seconds for the batches 0, 1, ..."""

        def run(batch: int) -> list[float]:
            self.wall += wall[batch]
            self.cpu += (cpu or wall)[batch]
            return [float(batch)]

        return run

    def values(self, rows: Sequence[Sequence[float]]) -> Side:
        """A side that takes a second each and computes these values for the batches 0, 1, ..."""
        tick = self.side([1.0] * len(rows))
        return lambda batch: tick(batch) and rows[batch]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_ratios_are_theirs_over_ours(clock: Clock) -> None:
    """Wall ratios 3, 2, 8 and CPU ratios 1, 4, 2 of the counted rounds; rates 100/1, 200/2, 300/1 and 100/3, 200/4, 300/8."""
    theirs = clock.side([900.0, 3.0, 4.0, 8.0], [900.0, 2.0, 8.0, 4.0])
    ours = clock.side([1.0, 1.0, 2.0, 1.0], [1.0, 2.0, 2.0, 2.0])
    row = race(theirs, ours)
    assert (row.ratio_min, row.ratio_median, row.ratio_max) == (2.0, 3.0, 8.0)
    assert row.cpu_ratio_median == pytest.approx(2.0)
    assert (row.ours, row.theirs) == (100.0, 37.5)
    assert (row.name, row.peer, row.unit, row.target, row.rounds) == ("step", "peer", "tokens/s", 2.0, 3)
    assert row.check == {"largest_difference": 0.0, "tolerance": 0.1}
    assert row.model_flops_utilisation is None


@pytest.mark.parametrize(("target", "kept"), [(None, True), (3.0, True), (3.1, False)])
def test_promises(clock: Clock, target: float | None, kept: bool) -> None:
    """The median of the ratios, 3, counts."""
    row = race(clock.side([1.0, 3.0, 9.0, 1.0]), clock.side([1.0] * 4), target=target)
    assert row.kept is kept
    assert promise(row).startswith("step: 3.00 (1.00 to 9.00)")
    assert ("promised" in promise(row)) == (target is not None)
    assert promise(row).endswith("MISSED") != kept


def test_with_a_real_clock() -> None:
    """20 ms against 5 ms of sleep, which takes no processor time: sides too short for the clock of the CPU are timed too."""

    def sleep(seconds: float) -> Side:
        return lambda batch: time.sleep(seconds) or [1.0]

    row = race(sleep(0.02), sleep(0.005))
    assert row.ratio_median > 1 and row.ours > row.theirs and row.rounds == 3


@pytest.mark.parametrize("number", [0, 2])
def test_different_values_are_refused(clock: Clock, number: int) -> None:
    """In any round, the one that warms up too; the sentence names the round and both sides."""
    theirs = [[1.0, 2.0]] * 4
    ours = [[1.0, 2.0 + 0.25 * (i == number)] for i in range(4)]
    with pytest.raises(PreftuneError, match=rf"step, round {number}: .*peer and preftune.* differs by 0\.25"):
        race(clock.values(theirs), clock.values(ours))


@pytest.mark.parametrize(
    ("theirs", "ours"), [([NAN, 2.0], [1.0, 2.0]), ([1.0, 2.0], [1.0, NAN]), ([NAN, 2.0], [NAN, 3.0])]
)
def test_nan_is_refused(clock: Clock, theirs: list[float], ours: list[float]) -> None:
    """NaN is no agreement, nor may it hide that the values after it differ."""
    with pytest.raises(PreftuneError, match="round 0"):
        race(clock.values([theirs] * 4), clock.values([ours] * 4))


def test_largest_difference_is_kept(clock: Clock) -> None:
    """Differences within the tolerance are reported, of whatever round and place."""
    theirs = [[1.0, 2.0]] * 4
    ours = [[1.0, 2.0], [1.0, 2.05], [0.91, 2.0], [1.01, 2.01]]
    row = race(clock.values(theirs), clock.values(ours))
    assert row.check["largest_difference"] == pytest.approx(0.09)


@pytest.mark.parametrize("ours", [[1.0], [1.0] * 3], ids=["fewer", "more"])
def test_another_number_of_values_is_refused(clock: Clock, ours: list[float]) -> None:
    """Although each of them is equal to each of theirs."""
    with pytest.raises((PreftuneError, ValueError, RuntimeError)):
        race(clock.values([[1.0, 1.0]] * 4), clock.values([ours] * 4))


@pytest.fixture(scope="module")
def rows() -> Iterator[list[Row]]:
    """A rate with a promise, a rate without, and an amount of memory without CPU times."""
    common = {"peer": "peer", "ratio_min": 1.5, "ratio_median": 2.125, "ratio_max": 3.25, "rounds": 3}
    rate = common | {"unit": "tokens/s", "ours": 12345.6, "theirs": 9.876, "cpu_ratio_median": 1.75}
    rows = [
        Row(name="promised", target=2.5, **rate),
        Row(name="shown", target=None, model_flops_utilisation=0.314, **rate),
        Row(name="memory", target=2.0, **common | {"unit": "bytes", "ours": 1.5e9, "theirs": 3.21e9}),
    ]
    yield [complete(row, threads=2) for row in rows]


def test_table(rows: list[Row]) -> None:
    """A line for each row and one for the machine; thousands, two digits below 100, GB, dashes for what is missing."""
    lines = render([asdict(row) for row in rows]).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:5]]
    assert {len(row) for row in cells} == {7}
    ratio = "**2.12** (1.50 to 3.25)"
    assert cells[2:] == [
        ["promised", "peer", "12,346 tokens/s", "9.88 tokens/s", ratio, "1.75", "≥ 2.5"],
        ["shown", "peer", "12,346 tokens/s, MFU 31%", "9.88 tokens/s", ratio, "1.75", "–"],
        ["memory", "peer", "1.50 GB", "3.21 GB", ratio, "–", "≥ 2"],
    ]
    assert lines[5] == "" and len(lines) == 7 and lines[6].startswith("Measured on ")
    assert all(f"{name} {rows[0].versions[name]}" in lines[6] for name in ("torch", "trl", "lm-eval"))


def test_every_machine_is_named_once(rows: list[Row]) -> None:
    other = asdict(rows[0]) | {"machine": rows[0].machine | {"gpu": {"name": "H100", "count": 1}}}
    other["commit"] = None
    lines = render([asdict(rows[0]), other, asdict(rows[1])]).splitlines()
    machines = [line for line in lines if line.startswith("Measured on ")]
    assert len(machines) == 2
    assert sum("H100" in line and "commit unknown" in line for line in machines) == 1


def test_rows_and_page_on_disk(rows: list[Row], tmp_path: Path) -> None:
    """Every JSON file of the folder goes into the page's block, files in the order of their names; the rest stays."""
    page, folder = tmp_path / "page.md", tmp_path / "rows"
    page.write_text("before\n\n<!-- generated:bench -->\nold\n<!-- /generated -->\n\nafter\n")
    write_rows(folder / "b.json", rows[:1])
    write_rows(folder / "a.json", rows[1:])
    assert read_json(folder / "b.json") == [asdict(rows[0])]
    write_table(folder, page)
    text = page.read_text()
    assert render([*read_json(folder / "a.json"), *read_json(folder / "b.json")]) in text
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text


@pytest.mark.parametrize("count", [256, 2000])
def test_pairs_have_the_stated_lengths(count: int) -> None:
    """Means within 10 % of those in the docstring, paths of 700 tokens at most, ids of the vocabulary but no special one."""
    pairs = make_pairs(500, count)
    sizes = np.array([[len(pair.prompt), *map(len, pair.branches)] for pair in pairs])
    assert sizes.mean(axis=0) == pytest.approx([202, 138, 122], rel=0.1)
    assert max(pair.longest for pair in pairs) <= 700 and sizes.min() >= 4
    assert len(np.unique(sizes[:, 1])) > 50
    ids = {i for pair in pairs for part in (pair.prompt, *pair.branches) for i in part}
    assert (min(ids), max(ids)) == (3, 499)
    assert len({pair.name for pair in pairs}) == count


@pytest.mark.parametrize("count", [512, 2000])
def test_answers_have_the_stated_lengths(count: int) -> None:
    """The same of answers: 214 tokens in the mean, 800 at most, 63 % of them in the answer."""
    rows = make_answers(500, count)
    totals, answers = np.array([[row.tokens, len(row.branches[0])] for row in rows]).T
    assert totals.mean() == pytest.approx(214, rel=0.1)
    assert totals.max() <= 800
    assert answers.sum() / totals.sum() == pytest.approx(0.63, abs=0.01)


@pytest.mark.parametrize("make", [make_pairs, make_answers])
def test_inputs_follow_the_seed(make: Callable) -> None:
    assert make(500, 5, seed=3) == make(500, 5, seed=3)
    assert make(500, 5, seed=3) != make(500, 5, seed=4)

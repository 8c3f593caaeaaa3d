"""`preftune results` calls a step again that was told to stop, and nothing else."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from preftune.commands import results
from preftune.errors import PreftuneError
from preftune.files import hold_lock
from preftune.workflow import locks


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    made: list[list[str]] = []
    monkeypatch.setattr(locks, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(locks, "ROOT", tmp_path)
    monkeypatch.setattr(results, "ROOT", tmp_path)
    plan = SimpleNamespace(config=SimpleNamespace(results="results"))
    monkeypatch.setattr(results, "plan_of", lambda configfile, values: plan)
    monkeypatch.setattr(results, "_command", lambda plan, arguments, among: list(arguments))
    return made


def test_two_checkouts_do_not_write_to_one_results_folder(calls: list[list[str]], tmp_path: Path) -> None:
    with (
        hold_lock(tmp_path / "results/.lock", "of another", "busy"),
        pytest.raises(
            PreftuneError, match=r"Another checkout \(of another\) is writing to this results folder"
        ),
    ):
        results.run(["--cores", "1"])
    assert calls == []


@pytest.mark.parametrize(
    ("outcomes", "code", "count"),
    [
        ([(1, {75}), (1, {75}), (0, set())], 0, 3),
        ([(1, {75, 1})], 1, 1),  # a step that failed for good would only fail again
        ([(1, set())], 1, 1),
        ([(0, set())], 0, 1),
        ([(1, {75})] * 20, 1, 10),
    ],
)
def test_only_steps_that_say_again_are_called_again(
    monkeypatch: pytest.MonkeyPatch,
    calls: list[list[str]],
    outcomes: list[tuple[int, set[int]]],
    code: int,
    count: int,
) -> None:
    left = iter(outcomes)
    monkeypatch.setattr(results, "run_quietly", lambda command: calls.append(command) or next(left))
    assert results.run(["--cores", "1"]) == code
    assert calls == [["--cores", "1"]] * count


def test_exit_codes_of_failed_jobs_are_read_from_snakemakes_output(capfd: pytest.CaptureFixture[str]) -> None:
    """The sentence is that of Snakemake 9's log of a failed shell command."""
    line = "CalledProcessError: Command 'set -euo pipefail; python x.py' returned non-zero exit status 75."
    assert results.run_quietly(
        ["bash", "-c", f'echo "{line}" >&2; echo "Building DAG of jobs" >&2; exit 1']
    ) == (1, {75})
    assert "exit status 75" in (error := capfd.readouterr().err) and "Building DAG" not in error


@pytest.mark.parametrize(
    ("values", "words", "told"),
    [
        ({"steps_per_gpu": 8, "training_gpus": 1}, [], ["--resources", "gpu=8"]),
        ({"steps_per_gpu": 8, "training_gpus": 1}, ["--resources", "gpu=2"], []),
        ({"steps_per_gpu": 8, "training_gpus": 0}, [], []),  # --config device=cpu
        ({"steps_per_gpu": 1, "training_gpus": 1}, [], []),
    ],
)
def test_as_many_steps_have_a_gpu_as_the_config_lets_share_it(
    values: dict[str, int], words: list[str], told: list[str]
) -> None:
    plan: Any = SimpleNamespace(config=SimpleNamespace(**values))
    assert results._share_gpu(plan, words) == told

"""The metrics file and its mirrors."""

import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from preftune.errors import PreftuneError
from preftune.training.metrics import MetricsLog, open_mirrors

ROWS = [
    {"step": 1, "loss": 0.1 + 0.2, "accuracy": None, "tokens": 12},
    {"step": 2, "loss": 1e-17, "accuracy": 0.0, "tokens": 9},
]


class Wandb(SimpleNamespace):
    """A stub of the package: what was asked of it, in order."""

    def __init__(self) -> None:
        calls: list[tuple] = []
        run = SimpleNamespace(
            log=lambda values, step: calls.append(("log", step, values)),
            finish=lambda: calls.append(("finish",)),
        )
        super().__init__(calls=calls, init=lambda **facts: calls.append(("init", facts)) or run)


@pytest.fixture(autouse=True)
def no_mirrors(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("PREFTUNE_TENSORBOARD", "PREFTUNE_WANDB"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Wandb:
    stub = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", stub)
    monkeypatch.setenv("PREFTUNE_WANDB", "a project")
    return stub


def write_log(path: Path | None, earlier: str = "", seconds: float = 1.0, rows: list[dict] = ROWS) -> str:
    log = MetricsLog(path, earlier, "run")
    for row in rows:
        log.write(row, {"seconds": seconds})
    log.close()
    return log.text


def test_equal_runs_write_equal_bytes(tmp_path: Path) -> None:
    """However long their steps took: a row holds the run's own numbers, to the last digit, and no time."""
    texts = [write_log(tmp_path / name, seconds=seconds) for name, seconds in (("a", 0.1), ("b", 7.0))]
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == texts[0].encode()
    assert texts[0] == texts[1]
    assert [json.loads(line) for line in (tmp_path / "a").read_text().splitlines()] == ROWS


def test_a_resumed_run_ends_with_the_same_bytes(tmp_path: Path) -> None:
    """The rows before the resume come first, and replace what the file held of steps done since."""
    whole = write_log(tmp_path / "whole")
    path = tmp_path / "resumed"
    first = write_log(path, rows=ROWS[:1])
    path.write_text(first + '{"step": 2, "loss": 99}\n{"step": 3, "lo')
    assert write_log(path, earlier=first, rows=ROWS[1:]) == whole
    assert path.read_bytes() == (tmp_path / "whole").read_bytes()


def test_rows_are_written_as_they_come(tmp_path: Path) -> None:
    """Someone who watches the file sees a step when it is done, not when the training ends."""
    log = MetricsLog(tmp_path / "log", "earlier\n", "run")
    log.write(ROWS[0], {})
    assert (tmp_path / "log").read_text() == "earlier\n" + json.dumps(ROWS[0]) + "\n" == log.text
    log.close()


def test_what_is_no_number_is_null(tmp_path: Path, wandb: Wandb) -> None:
    """JSON knows neither NaN nor infinity: a skipped step's row must not make the file unreadable elsewhere."""
    write_log(tmp_path / "log", rows=[{"step": 1, "loss": math.nan, "norm": -math.inf, "tokens": 3}])
    assert (tmp_path / "log").read_text() == '{"step": 1, "loss": null, "norm": null, "tokens": 3}\n'
    assert wandb.calls[1] == ("log", 1, {"tokens": 3.0, "seconds": 1.0})


def test_weights_and_biases_mirrors_the_rows(tmp_path: Path, wandb: Wandb) -> None:
    """With the times, with 0 and without None; the step is the axis and no value."""
    write_log(tmp_path / "log", seconds=2.5)
    assert wandb.calls == [
        ("init", {"project": "a project", "name": "run"}),
        ("log", 1, {"loss": 0.1 + 0.2, "tokens": 12.0, "seconds": 2.5}),
        ("log", 2, {"loss": 1e-17, "accuracy": 0.0, "tokens": 9.0, "seconds": 2.5}),
        ("finish",),
    ]


def test_tensorboard_mirrors_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("PREFTUNE_TENSORBOARD", str(tmp_path / "board"))
    write_log(tmp_path / "log", seconds=2.5)
    events = EventAccumulator(str(tmp_path / "board" / "run")).Reload()
    found = {
        tag: [(event.step, pytest.approx(event.value, rel=1e-6)) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }
    assert found == {
        "loss": [(1, 0.3), (2, 1e-17)],
        "accuracy": [(2, 0.0)],
        "tokens": [(1, 12.0), (2, 9.0)],
        "seconds": [(1, 2.5), (2, 2.5)],
    }


@pytest.mark.parametrize(
    ("variable", "package"), [("PREFTUNE_TENSORBOARD", "tensorboard"), ("PREFTUNE_WANDB", "wandb")]
)
def test_a_missing_package_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, package: str
) -> None:
    monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    with pytest.raises(PreftuneError, match=f"{variable} is set but .*: pip install {package}, or unset"):
        MetricsLog(tmp_path / "log", "", "run")


def test_without_a_path_nothing_is_mirrored(wandb: Wandb) -> None:
    """The processes that write no file write to no mirror either, but know the text."""
    assert write_log(None, earlier="earlier\n") == "earlier\n" + "".join(json.dumps(r) + "\n" for r in ROWS)
    assert wandb.calls == []


def test_mirrors_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset or empty variables switch nothing on."""
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert open_mirrors("run") == []
    monkeypatch.setenv("PREFTUNE_WANDB", "")
    monkeypatch.setenv("PREFTUNE_TENSORBOARD", "")
    assert open_mirrors("run") == []

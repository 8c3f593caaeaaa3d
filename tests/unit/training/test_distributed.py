"""Two gloo processes on the CPU compute what one does."""

import os
import signal
import socket
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from preftune import processes
from preftune.files import read_jsonl
from preftune.settings.training import TrainingSettings
from preftune.training import distributed
from preftune.training.checkpoints import Checkpoints
from preftune.training.interruption import AGAIN, InterruptedTraining
from preftune.training.loop import fit
from tests.unit.preference.helpers import place_in
from tests.unit.training.training_helpers import ToyObjective, start_child, wait_for

SETTINGS = TrainingSettings(
    steps=6, batch=4, learning_rate=0.1, weight_decay=0.1, tokens_per_pass=16, checkpoint_minutes=60
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def train(folder: Path, toy: ToyObjective, checkpoints: Checkpoints | None = None) -> None:
    """Train, as a process of those that the environment names, and leave this process's weights in `folder`."""
    with distributed.join(torch.device("cpu")):
        try:
            fit([{"params": [toy.table]}], toy, SETTINGS, place_in(folder, checkpoints=checkpoints))
        except InterruptedTraining:
            raise SystemExit(AGAIN) from None
    np.save(folder / f"rank-{processes.rank()}.npy", toy.table.detach().numpy())


def train_with_two(
    folder: Path, make: type[ToyObjective], checkpoints: Checkpoints | None = None
) -> list[int]:
    """Exit codes of two processes that train together."""
    port, children = free_port(), []
    for rank in range(2):

        def run(rank: int = rank) -> None:
            os.environ.update(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
            train(folder, make(), checkpoints)

        children.append(start_child(run))
    return [wait_for(child) for child in children]


def test_two_processes_give_the_losses_and_weights_of_one(tmp_path: Path) -> None:
    """To 1e-6: sums are taken in another order. Both processes hold the same bytes."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    train(tmp_path / "one", ToyObjective())
    assert train_with_two(tmp_path / "two", ToyObjective) == [0, 0]
    one, (first, second) = (
        np.load(tmp_path / "one/rank-0.npy"),
        [np.load(tmp_path / f"two/rank-{rank}.npy") for rank in range(2)],
    )
    assert np.array_equal(first, second)
    np.testing.assert_allclose(first, one, atol=1e-6)
    rows = [
        [list(row.values()) for row in read_jsonl(tmp_path / name / "metrics.jsonl")]
        for name in ("one", "two")
    ]
    np.testing.assert_allclose(rows[0], rows[1], rtol=1e-5)


class SignalledOnRankOne(ToyObjective):
    def draw(self, index, step):  # type: ignore[no-untyped-def]
        if step == 3 and processes.rank() == 1:
            os.kill(os.getpid(), signal.SIGUSR1)
        return super().draw(index, step)


def test_a_signal_to_one_process_stops_both_after_the_same_step(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    train_with_two(tmp_path / "whole", ToyObjective)
    checkpoints = Checkpoints(tmp_path / "state", "toy")
    assert train_with_two(tmp_path, SignalledOnRankOne, checkpoints) == [AGAIN, AGAIN]
    assert [path.name for path in (tmp_path / "state").glob("step-*")] == ["step-00000003"]
    assert train_with_two(tmp_path, ToyObjective, checkpoints) == [0, 0]
    for name in ("rank-0.npy", "rank-1.npy", "metrics.jsonl"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


class LateOnRankZero(ToyObjective):
    """Rank 0 starts later, and every step takes a while: without an agreement one process would wait for ever."""

    def __init__(self) -> None:
        super().__init__()
        time.sleep(0.1 * (1 - processes.rank()))

    def draw(self, index, step):  # type: ignore[no-untyped-def]
        time.sleep(0.02)
        return super().draw(index, step)


def test_processes_agree_on_when_a_checkpoint_is_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    often = SETTINGS.model_copy(update={"checkpoint_minutes": 0.2 / 60})
    monkeypatch.setattr(sys.modules[__name__], "SETTINGS", often)
    assert train_with_two(tmp_path, LateOnRankZero, Checkpoints(tmp_path / "state", "toy")) == [0, 0]
    assert len(list((tmp_path / "state").glob("step-*"))) == 2


class FullOnRankOne(ToyObjective):
    def loss(self, examples, units):  # type: ignore[no-untyped-def]
        if processes.rank() == 1 and sum(example.tree.tokens for example in examples) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().loss(examples, units)


def test_too_little_memory_on_one_process_halves_the_passes_of_both(tmp_path: Path) -> None:
    assert train_with_two(tmp_path, FullOnRankOne, Checkpoints(tmp_path / "state", "toy")) == [0, 0]
    state = Checkpoints(tmp_path / "state", "toy").load(torch.device("cpu"))
    assert state is not None and state[1]["budget"] == 8
    assert np.array_equal(*(np.load(tmp_path / f"rank-{rank}.npy") for rank in range(2)))


def test_without_torchrun_nothing_is_joined() -> None:
    assert (processes.rank(), processes.world_size(), processes.leads()) == (0, 1, True)
    with distributed.join(torch.device("cpu")) as device:
        assert device == torch.device("cpu") and not torch.distributed.is_initialized()
    assert distributed.add_up([1.0, 2.0], device) == [1.0, 2.0]

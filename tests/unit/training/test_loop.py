"""The training loop: what a step does not depend on, what stops it, and how it goes on."""

import json
import math
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from preftune.errors import PreftuneError
from preftune.files import read_jsonl
from preftune.models.policy import trainable_parameters
from preftune.preference.heads import PreferenceModel
from preftune.settings.training import TrainingSettings
from preftune.training.checkpoints import Checkpoints
from preftune.training.interruption import InterruptedTraining
from preftune.training.loop import Place, fit
from preftune.training.objective import TreeExample
from preftune.training.sft import SftObjective
from preftune.training.validation import Validation
from tests.unit.preference.helpers import make_rows, new_policy, place_in
from tests.unit.training.training_helpers import ADAMW, LAPROP, ToyObjective, align, start_child, wait_for


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("tokens", [1, 40, None])
def test_micro_batches_do_not_change_the_result(base: Path, tmp_path: Path, tokens: int | None) -> None:
    """One example a pass, a few, all at once: equal to the rounding of fp32 sums (1e-5 of the weights' norm)."""

    def weights(tokens_per_pass: int | None) -> torch.Tensor:
        policy, tokenizer = new_policy(base)
        model = PreferenceModel(policy, tokenizer)
        settings = TrainingSettings(steps=3, batch=6, learning_rate=1e-3, tokens_per_pass=tokens_per_pass)
        objective = SftObjective(model, make_rows(tokenizer, 6))
        fit([{"params": trainable_parameters(model)}], objective, settings, place_in(tmp_path))
        return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])

    whole, split = weights(10_000), weights(tokens)
    assert (whole - split).norm() < 1e-5 * whole.norm()


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(base: Path, tmp_path: Path) -> None:
    first, second = align(base, tmp_path, LAPROP), align(base, tmp_path, LAPROP)
    assert first == second
    toy = ToyObjective(dropout=0.3)
    settings = TrainingSettings(steps=3, batch=4, learning_rate=0.1)
    fit([{"params": [toy.table]}], toy, settings, place_in(tmp_path, seed=0))
    seed_0 = losses(tmp_path)
    other = ToyObjective(dropout=0.3)
    fit([{"params": [other.table]}], other, settings, place_in(tmp_path, seed=1))
    assert losses(tmp_path) != seed_0


def test_the_loss_is_the_mean_over_the_global_batch(tmp_path: Path) -> None:
    """Rows have 1 to 4 answer tokens, so a mean over rows or over micro-batches would be another number."""
    toy = ToyObjective(count=4)
    expected = torch.cat([(toy.table[list(row.branches[0])] - 1).square().sum(dim=1) for row in toy.rows])
    facts = toy.train(tmp_path, steps=1, tokens_per_pass=3)
    assert losses(tmp_path) == [pytest.approx(expected.mean().item(), rel=1e-6)]
    assert facts["tokens"] == sum(row.tokens for row in toy.rows)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_bad_loss_stops_names_its_examples_and_keeps_the_last_good_state(
    tmp_path: Path, value: float
) -> None:
    class Bad(ToyObjective):
        def loss(self, examples, units):  # type: ignore[no-untyped-def]
            loss, logged = super().loss(examples, units)
            worst = any(example.tree.name == "row-7" for example in examples)
            return loss * (value if worst else 1.0), logged

    bad, checkpoints = Bad(), Checkpoints(tmp_path / "state", "toy")
    with pytest.raises(PreftuneError, match=r"examples .*row-7.*lower learning_rate") as stop:
        bad.train(tmp_path, checkpoints=checkpoints)
    failed = int(str(stop.value).split()[1].rstrip(":"))
    step, state, _ = checkpoints.load(torch.device("cpu")) or (None, None, None)
    assert step == failed - 1
    assert torch.equal(state["parameters"][0], bad.table) and bad.table.isfinite().all()


def test_bad_steps_below_the_limit_are_skipped_and_counted(tmp_path: Path) -> None:
    class Once(ToyObjective):
        calls = 0

        def loss(self, examples, units):  # type: ignore[no-untyped-def]
            self.calls += 1
            loss, logged = super().loss(examples, units)
            return loss * (math.nan if self.calls == 2 else 1.0), logged

    said: list[str] = []
    once = Once()
    facts = once.train(tmp_path, said.append, nonfinite_limit=2)
    assert facts["skipped_steps"] == 1 and once.table.isfinite().all()
    assert len(said) == 1 and "step 2" in said[0] and "skipped (1 of at most 1)" in said[0]
    assert [loss is None for loss in losses(tmp_path)] == [False, True, False, False, False, False]
    assert math.isfinite(facts["first_loss"]) and math.isfinite(facts["last_loss"])


def test_too_little_memory_halves_the_passes_with_the_same_result(tmp_path: Path) -> None:
    class Small(ToyObjective):
        def loss(self, examples, units):  # type: ignore[no-untyped-def]
            if sum(example.tree.tokens for example in examples) > 9:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().loss(examples, units)

    large, small, said = ToyObjective(), Small(), []
    large.train(tmp_path)
    expected = losses(tmp_path)
    facts = small.train(tmp_path, said.append, tokens_per_pass=64)
    assert losses(tmp_path) == pytest.approx(expected, rel=1e-6)
    assert torch.allclose(large.table, small.table, atol=1e-6)
    assert facts["tokens_per_pass"] == 8
    assert len(said) == 3 and all("not enough memory" in sentence for sentence in said)


def test_an_example_too_large_for_memory_is_named(tmp_path: Path) -> None:
    class Full(ToyObjective):
        def loss(self, examples, units):  # type: ignore[no-untyped-def]
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    with pytest.raises(PreftuneError, match=r"example row-\d+ alone .* gradient_checkpointing"):
        Full().train(tmp_path, lambda sentence: None)


def test_other_errors_are_not_taken_for_too_little_memory(tmp_path: Path) -> None:
    class Broken(ToyObjective):
        def loss(self, examples, units):  # type: ignore[no-untyped-def]
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        Broken().train(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_finishes_the_step_and_a_second_run_ends_in_the_same_bytes(
    tmp_path: Path, number: int
) -> None:
    class Signalled(ToyObjective):
        armed = True

        def draw(self, index, step):  # type: ignore[no-untyped-def]
            if step == 3 and self.armed:
                self.armed = False
                os.kill(os.getpid(), number)
            return super().draw(index, step)

    whole = ToyObjective(dropout=0.3)
    whole.train(tmp_path)
    expected = (tmp_path / "metrics.jsonl").read_bytes()
    checkpoints = Checkpoints(tmp_path / "state", "toy")
    with pytest.raises(InterruptedTraining, match="after step 3 of 6: its state is kept"):
        Signalled(dropout=0.3).train(tmp_path, checkpoints=checkpoints, checkpoint_minutes=60)
    resumed = ToyObjective(dropout=0.3)
    facts = resumed.train(tmp_path, checkpoints=checkpoints)
    assert torch.equal(resumed.table, whole.table)
    assert (tmp_path / "metrics.jsonl").read_bytes() == expected
    assert [attempt["first_step"] for attempt in facts["attempts"]] == [1, 4]
    assert signal.getsignal(number) != signal.SIG_IGN


class Watched(ToyObjective):
    """Told to stop at step 5, when the best of the validated steps (2) is past; keeps the weights as they were."""

    def __init__(self, stop: bool) -> None:
        super().__init__(dropout=0.3)
        self.stop, self.seen = stop, []

    def draw(self, index: int, step: int) -> TreeExample:
        if self.stop and step == 5:
            self.stop = False
            os.kill(os.getpid(), signal.SIGTERM)
        return super().draw(index, step)

    def watch(self, folder: Path, values: list[float], **more: Any) -> dict[str, Any]:
        """Train with these values of the quantity at steps 2, 4 and 6."""

        def measure() -> float:
            self.seen.append(self.table.detach().clone())
            return values[len(self.seen) - 1]

        return self.train(folder, validation=Validation(2, "distance", measure), **more)


def test_the_best_validated_weights_are_kept(tmp_path: Path) -> None:
    toy = Watched(stop=False)
    facts = toy.watch(tmp_path, [2.0, math.nan, 3.0])
    assert (facts["best_step"], facts["best_distance"]) == (2, 2.0)
    assert torch.equal(toy.table, toy.seen[0]) and not torch.equal(toy.table, toy.seen[2])
    rows = read_jsonl(tmp_path / "metrics.jsonl")
    assert [row.get("distance") for row in rows] == [None, 2.0, None, None, None, 3.0]
    with pytest.raises(PreftuneError, match="distance was never a finite number"):
        Watched(stop=False).watch(tmp_path, [math.nan] * 3)


def test_the_best_weights_survive_a_stop(tmp_path: Path) -> None:
    whole, first, again = Watched(stop=False), Watched(stop=True), Watched(stop=False)
    whole.watch(tmp_path, [2.0, 4.0, 3.0])
    expected = (tmp_path / "metrics.jsonl").read_bytes()
    checkpoints = Checkpoints(tmp_path / "state", "toy")
    with pytest.raises(InterruptedTraining):
        first.watch(tmp_path, [2.0, 4.0], checkpoints=checkpoints, checkpoint_minutes=60)
    facts = again.watch(tmp_path, [3.0], checkpoints=checkpoints)
    assert facts["best_step"] == 2 and torch.equal(again.table, whole.table)
    assert (tmp_path / "metrics.jsonl").read_bytes() == expected


def test_the_last_state_is_kept_until_the_model_is_saved(tmp_path: Path) -> None:
    """Saving may fail after it; called again, no step is taken twice and the weights are the same."""
    checkpoints = Checkpoints(tmp_path / "state", "toy")
    toy, again = ToyObjective(), ToyObjective()
    toy.train(tmp_path, checkpoints=checkpoints, checkpoint_minutes=60)
    expected = (tmp_path / "metrics.jsonl").read_bytes()
    again.loss = None  # type: ignore[assignment, method-assign]
    again.train(tmp_path, checkpoints=checkpoints, checkpoint_minutes=60)
    assert torch.equal(toy.table, again.table) and (tmp_path / "metrics.jsonl").read_bytes() == expected


def test_without_checkpoints_a_stop_says_that_nothing_was_kept(tmp_path: Path) -> None:
    class Signalled(ToyObjective):
        def draw(self, index, step):  # type: ignore[no-untyped-def]
            if step == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().draw(index, step)

    with pytest.raises(InterruptedTraining, match=r"SIGTERM.*nothing was kept"):
        Signalled().train(tmp_path)


def test_twenty_kills_at_random_moments_end_in_the_same_bytes(base: Path, tmp_path: Path) -> None:
    """SIGKILL at any moment, also while a checkpoint is written: resumed, weights and metrics are those of no kill."""
    draw = random.Random(0)
    expected, seconds = {}, {}
    for name, training in (("laprop", LAPROP), ("adamw", ADAMW)):
        (tmp_path / name).mkdir()
        start = time.monotonic()
        expected[name] = align(base, tmp_path / name, training, Checkpoints(tmp_path / name / "state", name))
        seconds[name] = time.monotonic() - start
    hits = resumed = 0
    for number in range(20):
        name, training = (("laprop", LAPROP), ("adamw", ADAMW))[number % 2]
        folder = tmp_path / str(number)
        folder.mkdir()
        checkpoints = Checkpoints(folder / "state", name)
        child = start_child(lambda: align(base, folder, training, checkpoints))  # noqa: B023
        time.sleep(draw.uniform(0.0, 1.0) * seconds[name])
        os.kill(child, signal.SIGKILL)
        hits += wait_for(child) == -signal.SIGKILL
        resumed += bool(list((folder / "state").glob("step-*")))
        assert align(base, folder, training, checkpoints) == expected[name], f"kill {number}"
    assert hits >= 12 and resumed >= 5  # else the kills came too late or too early to test anything


def test_small_updates_are_not_lost_in_bfloat16(base: Path, tmp_path: Path) -> None:
    """At 3e-6, the paper's learning rate, a bfloat16 weight would never change: the trained weights are fp32."""
    policy, tokenizer = new_policy(base, dtype=torch.bfloat16)
    model = PreferenceModel(policy, tokenizer).train()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    settings = TrainingSettings(steps=1, batch=4, learning_rate=3e-6)
    place = Place(torch.device("cpu"), torch.bfloat16, 0, tmp_path / "metrics.jsonl", "test")
    fit(
        [{"params": trainable_parameters(model)}],
        SftObjective(model, make_rows(tokenizer, 4)),
        settings,
        place,
    )
    for old, new in zip(before, model.parameters(), strict=True):
        assert new.dtype == torch.float32
        moved = (old != new).float().mean()
        assert moved > 0.5 or old.shape[0] == 512  # the embeddings of unseen words stay

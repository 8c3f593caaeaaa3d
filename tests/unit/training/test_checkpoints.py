"""Checkpoints: whole or not at all, checked when read, of one training alone."""

import errno
import multiprocessing
import os
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from preftune.errors import PreftuneError
from preftune.training.checkpoints import Checkpoints

CPU = torch.device("cpu")
FORKED = multiprocessing.get_context("fork")


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "training", "key-1")


def state_of(step: int) -> dict:
    return {"weights": torch.full((64,), float(step)), "step": step}


def save_steps(checkpoints: Checkpoints, *steps: int) -> None:
    for step in steps:
        checkpoints.save(step, state_of(step))


def names(checkpoints: Checkpoints) -> list[str]:
    """Everything in the folder, hidden files too."""
    return sorted(path.name for path in checkpoints.folder.iterdir())


def flip(path: Path, place: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << bit
    path.write_bytes(bytes(data))


def test_what_was_saved_comes_back(checkpoints: Checkpoints) -> None:
    """Tensors to the bit (NaN, -0.0, subnormal, other types), and the rest as it was."""
    odd = torch.tensor([float("nan"), -0.0, 1e-42, float("inf")])
    state = {
        "parameters": [odd, odd.to(torch.bfloat16), torch.arange(3), torch.zeros(0)],
        "optimizer": {
            "state": {0: {"m": torch.tensor(0.1, dtype=torch.float64)}},
            "groups": [{"t": 3, "c": 0.1}],
        },
        "facts": {"attempts": [{"first_step": 1}], "nothing": None},
        "metrics": '{"step": 1}\n',
    }
    checkpoints.save(7, state)
    step, found, warnings = checkpoints.load(CPU)
    assert (step, warnings) == (7, [])
    for saved, loaded in zip(state["parameters"], found["parameters"], strict=True):
        assert loaded.dtype == saved.dtype and loaded.shape == saved.shape and loaded.device == CPU
        assert torch.equal(loaded.view(torch.uint8), saved.view(torch.uint8))
    assert found["optimizer"]["state"][0]["m"].item() == 0.1
    assert found["optimizer"]["groups"] == [{"t": 3, "c": 0.1}]
    assert (found["facts"], found["metrics"]) == (state["facts"], state["metrics"])


def test_nothing_saved_is_nothing_found(checkpoints: Checkpoints) -> None:
    """Neither without a folder nor in an empty one."""
    assert checkpoints.load(CPU) is None
    checkpoints.folder.mkdir(parents=True)
    assert checkpoints.load(CPU) is None


def test_the_newest_two_are_kept(checkpoints: Checkpoints) -> None:
    """By number: 100 comes after 10 and 9."""
    save_steps(checkpoints, 1, 2, 9, 10, 100)
    assert names(checkpoints) == ["step-00000010", "step-00000100"]
    assert checkpoints.load(CPU)[0] == 100


def test_a_step_saved_again_is_replaced(checkpoints: Checkpoints) -> None:
    checkpoints.save(4, state_of(1))
    checkpoints.save(4, state_of(2))
    assert checkpoints.load(CPU)[1]["step"] == 2 and names(checkpoints) == ["step-00000004"]


def truncate(path: Path) -> None:
    os.truncate(path / "state.pt", (path / "state.pt").stat().st_size // 2)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated state": truncate,
    "empty state": lambda path: (path / "state.pt").write_bytes(b""),
    "flipped bit of the state": lambda path: flip(path / "state.pt", (path / "state.pt").stat().st_size // 2),
    "flipped last bit of the state": lambda path: flip(path / "state.pt", -1, 7),
    "no state": lambda path: (path / "state.pt").unlink(),
    "no facts": lambda path: (path / "checkpoint.json").unlink(),
    "empty facts": lambda path: (path / "checkpoint.json").write_bytes(b""),
    "facts of zero bytes": lambda path: (path / "checkpoint.json").write_bytes(bytes(100)),
    "facts not UTF-8": lambda path: (path / "checkpoint.json").write_bytes(b"\xff\xfe"),
    "facts without keys": lambda path: (path / "checkpoint.json").write_text("{}"),
    "facts no object": lambda path: (path / "checkpoint.json").write_text("[3]"),
    "empty folder": lambda path: [file.unlink() for file in path.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_newest_is_passed_over(checkpoints: Checkpoints, damage: Callable[[Path], object]) -> None:
    """A warning names it, and the one before is used."""
    save_steps(checkpoints, 3, 5)
    damage(checkpoints.folder / "step-00000005")
    step, state, (warning,) = checkpoints.load(CPU)
    assert step == 3 and torch.equal(state["weights"], state_of(3)["weights"])
    assert "step-00000005 is damaged" in warning and "the one before it is used" in warning


def test_no_flipped_bit_of_the_facts_does_harm(checkpoints: Checkpoints, tmp_path: Path) -> None:
    """The step must not change unnoticed: either the right one is read, or the one before, or a sentence is raised."""
    save_steps(checkpoints, 3, 5)
    facts = checkpoints.folder / "step-00000005" / "checkpoint.json"
    shutil.copytree(checkpoints.folder, tmp_path / "whole")
    harm = []
    for place in range(facts.stat().st_size):
        shutil.copytree(tmp_path / "whole", checkpoints.folder, dirs_exist_ok=True)
        flip(facts, place)
        text = facts.read_text()
        try:
            step, state, warnings = checkpoints.load(CPU)
            if step != state["step"] or (step, len(warnings)) not in [(5, 0), (3, 1)]:
                harm.append((text, f"step {state['step']} is taken for step {step}"))
        except PreftuneError:
            pass
        except Exception as error:
            harm.append((text, repr(error)))
    assert not harm


def test_all_damaged_starts_anew(checkpoints: Checkpoints) -> None:
    save_steps(checkpoints, 3, 5)
    truncate(checkpoints.folder / "step-00000003")
    truncate(checkpoints.folder / "step-00000005")
    step, state, warnings = checkpoints.load(CPU)
    assert (step, state, len(warnings)) == (0, {}, 3)
    assert "step-00000005" in warnings[0] and "step-00000003" in warnings[1]
    assert "from its beginning" in warnings[2]


def test_damaged_ones_do_not_displace_good_ones(checkpoints: Checkpoints) -> None:
    """A training that began anew after two damaged checkpoints can be resumed from what it saves then."""
    save_steps(checkpoints, 30, 50)
    truncate(checkpoints.folder / "step-00000030")
    truncate(checkpoints.folder / "step-00000050")
    assert checkpoints.load(CPU)[0] == 0
    save_steps(checkpoints, 10)
    assert checkpoints.load(CPU)[0] == 10


def test_another_training_is_refused(checkpoints: Checkpoints) -> None:
    """The sentence names the checkpoint, both keys and the folder that can be deleted; nothing is touched."""
    save_steps(checkpoints, 3)
    other = Checkpoints(checkpoints.folder, "key-2")
    with pytest.raises(PreftuneError, match="checkpoint of another training") as refusal:
        other.load(CPU)
    for part in ("step-00000003", "key-1", "key-2", f"delete the folder {checkpoints.folder}."):
        assert part in str(refusal.value)
    assert checkpoints.load(CPU)[0] == 3


@pytest.mark.parametrize("place", ["torch.save", "os.fsync", "os.replace"])
@pytest.mark.parametrize(
    ("number", "sentence"),
    [(errno.ENOSPC, "No space is left on the disk"), (errno.EROFS, "read-only disk"), (errno.EIO, None)],
)
def test_a_failed_write_changes_nothing(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch, place: str, number: int, sentence: str | None
) -> None:
    """The old checkpoints stay, no temporary folder is left; what the user can mend is a sentence."""
    save_steps(checkpoints, 1, 2)

    def fail(*arguments, **named) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(place, fail)
        with pytest.raises(PreftuneError if sentence else OSError, match=sentence) as failure:
            save_steps(checkpoints, 3)
    assert sentence is None or str(checkpoints.folder) in str(failure.value)
    assert names(checkpoints) == ["step-00000001", "step-00000002"]
    assert checkpoints.load(CPU)[::2] == (2, [])


@pytest.mark.parametrize("numbers", [1 << 14, 1 << 20], ids=["in the last write", "amid a tensor"])
def test_a_disk_that_is_full_half_way_is_a_sentence(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch, numbers: int
) -> None:
    """The kernel refuses a write for real; a limit on the size of files stands for the end of the disk."""
    save_steps(checkpoints, 1, 2)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    monkeypatch.setattr(errno, "ENOSPC", errno.EFBIG)  # what write(2) says beyond that limit
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
        with pytest.raises(PreftuneError, match="No space is left on the disk"):
            checkpoints.save(3, {"weights": torch.ones(numbers)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert names(checkpoints) == ["step-00000001", "step-00000002"]


def test_an_interruption_leaves_nothing_behind(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second Ctrl-C in the middle of a write is no OSError, but must not leave half a checkpoint either."""
    save_steps(checkpoints, 1)

    def stop(*_) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        save_steps(checkpoints, 2)
    assert names(checkpoints) == ["step-00000001"]


def test_content_reaches_the_disk_before_its_name(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both files are flushed before the rename, the folder after it: a power cut leaves all or nothing."""
    calls: list[tuple[str, str]] = []
    fsync, replace = os.fsync, os.replace

    def record_fsync(handle: int) -> None:
        calls.append(("fsync", Path(os.readlink(f"/proc/self/fd/{handle}")).name))
        fsync(handle)

    def record_replace(source: Path, target: Path) -> None:
        calls.append(("replace", Path(target).name))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    save_steps(checkpoints, 1)
    renamed = calls.index(("replace", "step-00000001"))
    flushed = [name for kind, name in calls[:renamed] if kind == "fsync"]
    assert "state.pt" in flushed and any("checkpoint.json" in name for name in flushed)
    assert calls[renamed + 1 :] == [("fsync", checkpoints.folder.name)]


def _save_and_die(checkpoints: Checkpoints, renames: int) -> None:
    """In another process: save step 3, and be gone at a rename, as after kill -9 or a power cut."""
    replace, left = os.replace, iter(range(renames))

    def die(source: Path, target: Path) -> None:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    os.replace = die
    save_steps(checkpoints, 3)


@pytest.mark.parametrize("renames", [0, 1], ids=["without its facts", "but for its name"])
def test_what_a_killed_process_leaves_is_no_checkpoint(checkpoints: Checkpoints, renames: int) -> None:
    """It is passed over without a warning, however whole, and does not hinder the same step's next save."""
    save_steps(checkpoints, 2)
    process = FORKED.Process(target=_save_and_die, args=(checkpoints, renames))
    process.start()
    process.join()
    (leftover,) = set(names(checkpoints)) - {"step-00000002"}
    assert process.exitcode == -signal.SIGKILL
    assert checkpoints.load(CPU)[::2] == (2, [])
    shutil.copytree(checkpoints.folder / leftover, checkpoints.folder / f".step-00000003.{os.getpid()}")
    save_steps(checkpoints, 3)
    step, state, warnings = checkpoints.load(CPU)
    assert (step, state["step"], warnings) == (3, 3, [])


def test_leftovers_of_killed_writes_are_deleted_by_the_next_run(checkpoints: Checkpoints) -> None:
    """Else preemptions in the middle of a write would fill the disk."""
    save_steps(checkpoints, 1)
    (checkpoints.folder / ".step-00000002.123").mkdir()
    checkpoints.tidy()
    assert names(checkpoints) == ["step-00000001"]

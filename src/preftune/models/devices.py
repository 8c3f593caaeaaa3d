"""Where and in which precision a model computes."""

import fcntl
import os
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TextIO

import torch

from preftune.errors import PreftuneError
from preftune.progress import say

_leased: list[TextIO] = []
"""The open lock file of this process's GPU: a process that dies closes it."""


def claim_device(name: str) -> None:
    """Settle which GPU this process computes on, before anything uses one.

    A process that sees several, on a workstation or in an interactive allocation, or as one of torchrun's, leases one of them
    through a lock that ends with it, however it ends.

    Raises:
        PreftuneError: `cuda` is asked for and no GPU is visible.
    """
    devices = _visible_devices()
    if name != "cpu" and len(devices) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = _lease(devices)
    resolve_device(name)


def _visible_devices() -> list[str]:
    """Names of the GPUs that this process may use, asked without CUDA, which would settle it."""
    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    if told is not None:
        return [one for one in told.split(",") if one]
    return sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))


def _lease(devices: list[str]) -> str:
    """The first GPU that no other process of this user has leased; waits for one."""
    folder = Path(tempfile.gettempdir()) / f"preftune-gpus-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    told = False
    while True:
        for device in devices:
            stream = (folder / device).open("a")
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                stream.close()
                continue
            _leased.append(stream)
            return device
        if not told:
            say(f"all GPUs ({', '.join(devices)}) are in use by other steps: waiting for one")
            told = True
        time.sleep(1)


def resolve_device(name: str) -> torch.device:
    """`auto` is CUDA where a card is visible, else the CPU; `cuda` without a card is an error."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        seen = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
        build = torch.version.cuda or "CPU"
        raise PreftuneError(
            f"device is cuda but no GPU is visible (CUDA_VISIBLE_DEVICES: {seen or 'empty'}; torch is built for {build}): ask "
            "for one (on a cluster: partitions.gpu and gpu_model in slurm/site.yaml), install the CUDA build of torch, or set "
            "device: cpu."
        )
    return torch.device(name)


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 on CUDA and float32 on a CPU, where bfloat16 without hardware support is slower by far."""
    if name == "auto":
        name = "bfloat16" if device.type == "cuda" else "float32"
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def computing_in(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[None]:
    """Arithmetic in `dtype` inside the block, whatever the weights are; fp32 leaves all as it is."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype=dtype)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was lacking: CUDA's allocator, the CPU's ("can't allocate memory") or Python's."""
    text = str(error).lower()
    return (
        isinstance(error, torch.OutOfMemoryError | MemoryError)
        or "allocate memory" in text
        or "not enough memory" in text
    )

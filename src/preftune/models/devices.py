"""Where and in which precision a model computes."""

from contextlib import AbstractContextManager, nullcontext

import torch

from preftune.errors import PreftuneError


def resolve_device(name: str) -> torch.device:
    """`auto` is CUDA where a card is visible, else the CPU; `cuda` without a card is an error."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise PreftuneError(
            "device is cuda but no CUDA device is visible: ask for a GPU, or set device: cpu."
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

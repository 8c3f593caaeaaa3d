"""Data parallelism on one node: started by torchrun, absent otherwise. Every function works in one process too."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

from preftune.processes import world_size

_BUCKET = 64 << 20


@contextmanager
def join(device: torch.device) -> Iterator[torch.device]:
    """Be one of torchrun's processes inside the block (NCCL on CUDA, gloo on CPU); yields this process's device."""
    if world_size() == 1:
        yield device
        return
    if device.type == "cuda":
        # Where each process leased its own GPU, that one is all it sees.
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def wait() -> None:
    """Wait for every process to come here."""
    if world_size() > 1:
        dist.barrier()


def add_up(values: Sequence[float], device: torch.device) -> list[float]:
    """Sums of `values` over the processes, in fp64."""
    if world_size() == 1:
        return list(values)
    total = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(total)
    return total.tolist()


def smallest(value: int, device: torch.device) -> int:
    """The least of the processes' values."""
    if world_size() == 1:
        return value
    found = torch.tensor(value, device=device)
    dist.all_reduce(found, dist.ReduceOp.MIN)
    return int(found)


def add_up_gradients(parameters: Sequence[Tensor]) -> None:
    """Replace every gradient by its sum over the processes; a parameter without one counts as zero.

    Gradients travel in flat buckets: few large messages instead of one a parameter.
    """
    if world_size() == 1:
        return
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    bucket: list[Tensor] = []
    for parameter in parameters:
        bucket.append(parameter.grad)  # type: ignore[arg-type]
        if sum(tensor.nbytes for tensor in bucket) >= _BUCKET:
            _add_up_bucket(bucket)
            bucket = []
    if bucket:
        _add_up_bucket(bucket)


def _add_up_bucket(tensors: list[Tensor]) -> None:
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))

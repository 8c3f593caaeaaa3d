"""What training costs: floating-point operations counted, saved tensors counted, peak memory and optimiser state measured.

An operation is a multiplication or an addition, so that a product of [m, k] and [k, n] has 2 m k n of them. Attention is
counted in full, causal or not, as torch counts it.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from preftune import memory

_ATEN = torch.ops.aten


def _addmm(self: Any, a: Any, b: Any, out_shape: Any = None, **_: Any) -> int:
    return 2 * a[0] * a[1] * b[1]


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, _repeat(key, query), _repeat(value, query)))


def _attention_backward(grad: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_backward_flop_count(grad, query, _repeat(key, query), _repeat(value, query)))


def _repeat(shape: Any, query: Any) -> Any:
    """Keys and values as often as there are heads of queries, which older versions of torch do not count otherwise."""
    return (*shape[:1], query[1], *shape[2:])


# What torch's counter passes over: products added in place (our LoRA's), and attention on a CPU.
_FORMULAS = {
    _ATEN.addmm_: _addmm,
    _ATEN._scaled_dot_product_flash_attention_for_cpu: _attention,
    _ATEN._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


def count_flops(run: Callable[[], object]) -> int:
    """Operations of all products (linear layers, attention, convolutions) that `run` computes, backward passes included.

    Custom autograd functions are counted by the products inside them.
    """
    with FlopCounterMode(display=False, custom_mapping=_FORMULAS) as counter:
        run()
    return int(counter.get_total_flops())


class SavedTensors:
    """Collects what a forward pass in its block keeps for the backward pass: storages, parameters and buffers left out.

    Attributes:
        bytes: their size, each storage counted once.
    """

    def __init__(self, module: nn.Module) -> None:
        own = (*module.parameters(), *module.buffers())
        self._own = {tensor.untyped_storage().data_ptr() for tensor in own}
        self._found: dict[int, int] = {}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._see, lambda tensor: tensor)

    def __enter__(self) -> "SavedTensors":
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._hooks.__exit__(*error)  # type: ignore[arg-type]

    def add_graph(self, loss: Tensor) -> None:
        """Count also what custom functions below `loss` keep as attributes, which no hook sees."""
        for node in _nodes(loss):
            for value in vars(node).values() if hasattr(node, "__dict__") else ():
                if isinstance(value, Tensor):
                    self._see(value)

    @property
    def bytes(self) -> int:
        """Size of what was found so far."""
        return sum(self._found.values())

    def _see(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._own:
            self._found[storage.data_ptr()] = storage.nbytes()
        return tensor


def _nodes(loss: Tensor) -> Iterator[Any]:
    waiting, seen = [loss.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [parent for parent, _ in node.next_functions]
            yield node


class PeakMemory:
    """The most memory that a block takes: the device's on CUDA, this process's resident memory on a CPU.

    Attributes:
        facts: {baseline, peak, reserved} in bytes: before the block, at most inside it, and, on CUDA, taken from the
            device by the allocator; None where it cannot be measured.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.facts: dict[str, int | None] = dict.fromkeys(("baseline", "peak", "reserved"))

    def __enter__(self) -> "PeakMemory":
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            self.facts["baseline"] = torch.cuda.memory_allocated(self.device)
        elif memory.reset_peak():
            self.facts["baseline"] = memory.resident_bytes()
        return self

    def __exit__(self, *error: object) -> None:
        if self.device.type == "cuda":
            self.facts["peak"] = torch.cuda.max_memory_allocated(self.device)
            self.facts["reserved"] = torch.cuda.max_memory_reserved(self.device)
        elif self.facts["baseline"] is not None:
            self.facts["peak"] = memory.peak_since_reset()


def tensor_bytes(tensors: Iterable[Tensor]) -> int:
    """Size of tensors, storages that several share counted once."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())


def optimizer_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Size of an optimiser's state."""
    states = optimizer.state.values()
    return tensor_bytes(value for state in states for value in state.values() if isinstance(value, Tensor))

"""The form of a context adapter: a module beside one frozen linear layer, with parameters per group."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from preftune.adapters.context import ContextHolder, Contexts


@dataclass(frozen=True)
class Projection:
    """A linear layer of the language model: its role (`q_proj`, ...) and its shape."""

    role: str
    in_features: int
    out_features: int


class ContextAdapter(nn.Module, ABC):
    """Adapter of one linear layer; every parameter is [groups, ...], in fp32, cast where it is used.

    A new kind is one file with a subclass, and one row in `preftune.adapters.install.ADAPTERS`.
    """

    attention: ClassVar[tuple[str, ...]]
    """Roles that the target set A adapts."""
    feedforward: ClassVar[tuple[str, ...]]
    """Roles that the target set F adapts."""

    @abstractmethod
    def __init__(
        self, projection: Projection, groups: int, rank: int, generator: torch.Generator
    ) -> None: ...

    @abstractmethod
    def forward(self, x: Tensor, base: nn.Linear, contexts: Contexts) -> Tensor:
        """The adapted layer's output [batch, seq, out] for its input `x` [batch, seq, in]."""


class AdaptedLinear(nn.Module):
    """A frozen linear layer and its adapter, in the place of the linear layer."""

    def __init__(self, base: nn.Linear, adapter: ContextAdapter, holder: ContextHolder) -> None:
        super().__init__()
        self.base = base
        self.adapter = adapter
        self._holder = holder

    def forward(self, x: Tensor) -> Tensor:
        """[batch, seq, in] -> [batch, seq, out]."""
        return self.adapter(x, self.base, self._holder.require(x))

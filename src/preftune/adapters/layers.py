"""What the adapted layers of every kind share: a frozen linear layer of the base model, routing, and folding."""

from abc import abstractmethod
from collections.abc import Iterable
from typing import cast

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from preftune.adapters.contexts import DOMAINS, ContextHolder, Routing


class ContextLayer(BaseTunerLayer):
    """A PEFT layer whose adapters (the groups) are on at some tokens only.

    Mixed in before a linear layer of PEFT, which brings the parameters by group. A new kind is one file with such a class
    and one row in `preftune.adapters.install.KINDS`.
    """

    holder: ContextHolder
    folded: tuple[int, Tensor, Tensor | None] | None = None
    foldable = True

    def forward(self, x: Tensor) -> Tensor:
        """[rows, seq, in] (or flattened [rows * seq, in]) -> the same with width out."""
        if self.disable_adapters:
            return cast(Tensor, self.get_base_layer()(x))
        routing = self.holder.require(x)
        if self.folded is not None and routing.contexts.present == {self.folded[0]}:
            return functional.linear(x, self.folded[1], self.folded[2])
        return self.adapt(x.view(*routing.shape, -1), routing).view(*x.shape[:-1], -1)

    @abstractmethod
    def adapt(self, x: Tensor, routing: Routing) -> Tensor:
        """The adapted layer's output [rows, seq, out] for its input [rows, seq, in]."""

    @abstractmethod
    def fold(self, groups: Iterable[str]) -> tuple[Tensor, Tensor | None]:
        """Weight [out, in] and bias [out] of the plain linear layer that these groups make of the base layer."""

    def groups(self) -> list[str]:
        """Names of the groups that this layer has."""
        return list(getattr(self, self.adapter_layer_names[0]))

    def groups_for(self, routing: Routing) -> list[str]:
        """Groups to compute: those on somewhere; in training all, so that an absent group's gradient is 0, not missing."""
        return [name for name in self.groups() if torch.is_grad_enabled() or name not in routing.absent]

    def frozen(self, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor | None]:
        """Weight [out, in] and bias of the base layer, in its own type or another."""
        base = cast(nn.Linear | Conv1D, self.get_base_layer())
        weight = base.weight.t() if isinstance(base, Conv1D) else base.weight
        return weight.to(dtype), None if base.bias is None else base.bias.to(dtype)


def compute_dtype(x: Tensor) -> torch.dtype:
    """Type in which a layer with input `x` computes: autocast's where it is on, else the input's."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def select_rows(table: Tensor, routing: Routing, dtype: torch.dtype) -> Tensor:
    """The row of each token's context out of `table` [domains, width]: [rows or 1, seq, width].

    As a product with the one-hot contexts, whose gradient is a product too.
    """
    return functional.one_hot(routing.ids, DOMAINS).to(dtype) @ table.to(dtype)


def is_plain_linear(module: nn.Module) -> bool:
    """Whether a layer is linear with weights of floating point: quantised and other special layers are not."""
    return type(module) in (nn.Linear, Conv1D) and module.weight.is_floating_point()  # type: ignore[operator, union-attr]

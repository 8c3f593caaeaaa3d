"""Context-LoRA: h = W x (+ b) + x A_c B_c (Context-PEFT paper, section 3.3, algorithm 1)."""

from collections.abc import Iterable
from typing import cast

import torch
from peft import LoraConfig
from peft.tuners import lora
from torch import Tensor, nn

from preftune.adapters.contexts import Routing
from preftune.adapters.forms import Update, lora_by_mask, lora_by_part
from preftune.adapters.layers import ContextLayer, compute_dtype
from preftune.settings.adapters import GroupSettings

_SMALL = 32
"""Sum of ranks up to which masking is faster on a CPU than gathering (`make bench CASES=adapters`)."""


class ContextLora(ContextLayer, lora.Linear):
    """PEFT's LoRA layer with an A and a B per group; no dropout, no bias; B = 0 at the start."""

    def adapt(self, x: Tensor, routing: Routing) -> Tensor:
        """Groups on at the same token add up."""
        dtype, names = compute_dtype(x), self.groups_for(routing)
        weight, bias = self.frozen(dtype)
        x = x.to(dtype)
        a = {name: self.weights(name)[0].to(dtype) for name in names}
        b = {name: self.weights(name)[1].to(dtype) for name in names}
        if not names:
            return torch.nn.functional.linear(x, weight, bias)
        if torch.compiler.is_compiling() or (routing.spans is None and self._prefers_mask(x, names)):
            selection = routing.columns(tuple((n, self.r[n], self.scaling[n]) for n in names), dtype)
            pairs = [(a[n], b[n]) for n in names]
            return lora_by_mask(x.flatten(0, 1), weight, bias, pairs, selection).view(*x.shape[:2], -1)
        if routing.spans is not None:
            spans = routing.spans
            return lora_by_part(x, weight, bias, [(a[n], b[n], self.scaling[n], spans[n]) for n in names])
        parts: list[Update] = [(a[n], b[n], self.scaling[n], (routing.index(n),)) for n in names]
        return lora_by_part(x.flatten(0, 1), weight, bias, parts).view(*x.shape[:2], -1)

    def fold(self, groups: Iterable[str]) -> tuple[Tensor, Tensor | None]:
        """W + sum of the groups' s B A."""
        weight, bias = self.frozen()
        total = weight
        for name in groups:
            if name in self.lora_A:
                a, b = self.weights(name)
                total = total + self.scaling[name] * (b @ a)
        return total.to(weight.dtype), bias

    def weights(self, group: str) -> tuple[Tensor, Tensor]:
        """A [rank, in] and B [out, rank] of a group."""
        return cast(nn.Linear, self.lora_A[group]).weight, cast(nn.Linear, self.lora_B[group]).weight

    def _prefers_mask(self, x: Tensor, names: list[str]) -> bool:
        return x.is_cuda or sum(self.r[name] for name in names) <= _SMALL


def lora_config(group: GroupSettings, targets: list[str], feedforward: list[str], rslora: bool) -> LoraConfig:
    """PEFT's configuration of one group: scale 1 at every rank unless the group says otherwise."""
    assert group.rank is not None
    return LoraConfig(
        r=group.rank, lora_alpha=group.alpha if group.alpha is not None else group.rank,  # type: ignore[arg-type]
        use_rslora=rslora, target_modules=targets, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM",
    )  # fmt: skip

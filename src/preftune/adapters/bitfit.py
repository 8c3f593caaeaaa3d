"""Context-BitFit: h = W x + b + beta_c with b frozen (Context-PEFT paper, section 3.3)."""

from collections.abc import Iterable

import torch
from peft import BeftConfig
from peft.tuners import beft
from torch import Tensor, nn

from preftune.adapters.contexts import DOMAINS, Routing
from preftune.adapters.layers import ContextLayer, compute_dtype, select_rows
from preftune.settings.adapters import GroupSettings


class ContextBitFit(ContextLayer, beft.Linear):
    """A second, trainable bias per group on every projection, also on one without a bias; 0 at the start.

    PEFT's BEFT layer is this second bias (its paper adds it to values alone).
    """

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: BeftConfig) -> None:
        """Wider than BEFT's own: also for the Conv1D of GPT-2, and silent where the base layer has no bias."""
        nn.Module.__init__(self)
        self.base_layer = base_layer
        self.beft_bias = nn.ParameterDict({})
        self._disable_adapters, self.merged_adapters = False, []
        self.out_features, self.in_features = self.frozen()[0].shape
        self._active_adapter = adapter_name
        self.update_layer(adapter_name, config)

    def update_layer(self, adapter_name: str, config: BeftConfig, **_: object) -> None:
        """Add a group's bias."""
        self.beft_bias[adapter_name] = nn.Parameter(torch.zeros(1, self.out_features))
        self._move_adapter_to_device_of_base_layer(adapter_name)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def adapt(self, x: Tensor, routing: Routing) -> Tensor:
        """Biases of groups on at the same token add up."""
        table = torch.zeros(DOMAINS, self.out_features, device=x.device)
        for name in self.groups_for(routing):
            table = table + torch.where(routing.on[name][:, None], self.beft_bias[name], 0.0)
        return self.base_layer(x) + select_rows(table, routing, compute_dtype(x))

    def fold(self, groups: Iterable[str]) -> tuple[Tensor, Tensor | None]:
        """b + sum of the groups' biases."""
        weight, bias = self.frozen()
        for name in groups:
            if name in self.beft_bias:
                beta = self.beft_bias[name].flatten()
                bias = beta.to(weight.dtype) if bias is None else (bias + beta).to(bias.dtype)
        return weight, bias


class BitFitModel(beft.BeftModel):
    """PEFT's BEFT tuner with our layer."""

    @staticmethod
    def _create_new_module(
        beft_config: BeftConfig, adapter_name: str, target: nn.Module, **_: object
    ) -> nn.Module:
        return ContextBitFit(target, adapter_name, beft_config)


def bitfit_config(
    group: GroupSettings, targets: list[str], feedforward: list[str], rslora: bool
) -> BeftConfig:
    """PEFT's configuration of one group."""
    return BeftConfig(target_modules=targets, task_type="CAUSAL_LM")

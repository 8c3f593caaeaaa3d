"""Context-IA3: keys, values and the FFN's inner activation are scaled by l_c (Context-PEFT paper, section 3.3)."""

from collections.abc import Iterable

import torch
from peft import IA3Config
from peft.tuners import ia3
from torch import Tensor

from preftune.adapters.contexts import DOMAINS, Routing
from preftune.adapters.layers import ContextLayer, compute_dtype, select_rows
from preftune.settings.adapters import GroupSettings


class ContextIa3(ContextLayer, ia3.Linear):
    """PEFT's IA3 layer with a scale per feature and group, 1 at the start.

    On the output of k and v, and on the input of the down projection (the activation after SwiGLU). A fused projection of
    queries, keys and values is scaled as a whole, as PEFT does.
    """

    def adapt(self, x: Tensor, routing: Routing) -> Tensor:
        """Scales of groups on at the same token multiply."""
        width = self.in_features if self.is_feedforward else self.out_features
        table = torch.ones(DOMAINS, width, device=x.device)
        for name in self.groups_for(routing):
            table = table * torch.where(routing.on[name][:, None], self.ia3_l[name].view(1, -1), 1.0)
        # The change, not the scale: near 1 bfloat16 has steps of 0.8 %, and a scale of 1.003 would be none.
        change = select_rows(table - 1, routing, compute_dtype(x))
        if self.is_feedforward:
            return self.base_layer(torch.addcmul(x, x, change.to(x.dtype)))
        result = self.base_layer(x)
        return torch.addcmul(result, result, change.to(result.dtype))

    def fold(self, groups: Iterable[str]) -> tuple[Tensor, Tensor | None]:
        """Rows (k, v) or columns (down) of W scaled."""
        weight, bias = self.frozen()
        for name in groups:
            if name in self.ia3_l:
                scale = self.ia3_l[name].flatten()
                weight = (weight * (scale if self.is_feedforward else scale[:, None])).to(weight.dtype)
                if bias is not None and not self.is_feedforward:
                    bias = (bias * scale).to(bias.dtype)
        return weight, bias


def ia3_config(group: GroupSettings, targets: list[str], feedforward: list[str], rslora: bool) -> IA3Config:
    """PEFT's configuration of one group."""
    return IA3Config(target_modules=targets, feedforward_modules=feedforward, task_type="CAUSAL_LM")

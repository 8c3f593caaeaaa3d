"""Attaching context adapters to a frozen language model by wrapping its linear layers."""

from collections.abc import Iterator
from contextlib import AbstractContextManager

import torch
from torch import nn

from preftune.adapters.base import AdaptedLinear, ContextAdapter, Projection
from preftune.adapters.bitfit import ContextBitFit
from preftune.adapters.context import GROUPS, ContextHolder, Contexts
from preftune.adapters.ia3 import ContextIa3
from preftune.adapters.lora import ContextLora
from preftune.errors import PreftuneError
from preftune.settings.captioning import AdapterSettings

ADAPTERS: dict[str, type[ContextAdapter]] = {"lora": ContextLora, "bitfit": ContextBitFit, "ia3": ContextIa3}
"""Kinds that add parameters; `none` and `full` are no adapters (see `preftune.captioning.captioner`)."""


class InstalledAdapters:
    """The adapters of one model by the path of their layer, and the holder that tells them the contexts."""

    def __init__(
        self, settings: AdapterSettings, layers: dict[str, AdaptedLinear], holder: ContextHolder
    ) -> None:
        self.settings = settings
        self.groups = GROUPS[settings.context]
        self.layers = layers
        self.holder = holder

    def use(self, contexts: Contexts) -> AbstractContextManager[None]:
        """Hold `contexts` for the forward passes inside the block."""
        return self.holder.use(contexts)

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """(`<path of the layer>.<parameter>`, [groups, ...]) of every adapter, in the model's order."""
        for path, layer in self.layers.items():
            for name, parameter in layer.adapter.named_parameters():
                yield f"{path}.{name}", parameter

    def parameters(self) -> list[nn.Parameter]:
        """Every trainable tensor."""
        return [parameter for _, parameter in self.named_parameters()]

    def count(self) -> int:
        """Number of trainable values."""
        return sum(parameter.numel() for parameter in self.parameters())


def target_roles(settings: AdapterSettings) -> tuple[str, ...]:
    """Roles of the layers that a kind adapts under the target set A (attention), F (feed-forward) or AF."""
    adapter = ADAPTERS[settings.kind]
    return (adapter.attention if "A" in settings.targets else ()) + (
        adapter.feedforward if "F" in settings.targets else ()
    )


def install_adapters(model: nn.Module, settings: AdapterSettings, seed: int = 0) -> InstalledAdapters:
    """Freeze `model` and wrap its target layers; the model's outputs are unchanged until the adapters are
    trained.

    A layer is a target when the last part of its path is the role (`q_proj`), so that the embedding, the head
    and norms are never adapted. The draws of the adapters come from `seed` alone.
    """
    model.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    holder = ContextHolder()
    layers: dict[str, AdaptedLinear] = {}
    for path, role, linear in _find_targets(model, target_roles(settings)):
        projection = Projection(role, linear.in_features, linear.out_features)
        adapter = ADAPTERS[settings.kind](projection, len(GROUPS[settings.context]), settings.rank, generator)
        layers[path] = AdaptedLinear(linear, adapter.to(linear.weight.device), holder)
        model.get_submodule(path.rpartition(".")[0]).register_module(role, layers[path])
    return InstalledAdapters(settings, layers, holder)


def _find_targets(model: nn.Module, roles: tuple[str, ...]) -> list[tuple[str, str, nn.Linear]]:
    found = [(path, path.rpartition(".")[2], module) for path, module in model.named_modules()]
    linears = [
        (path, role, module)
        for path, role, module in found
        if role in roles and isinstance(module, nn.Linear)
    ]
    missing = {role for role in roles if role not in {role for _, role, _ in linears}}
    # Gate and up are either two layers or one fused layer.
    missing -= {"gate_up_proj"} if not missing & {"gate_proj", "up_proj"} else {"gate_proj", "up_proj"}
    if missing:
        raise PreftuneError(
            f"The language model has no linear layer named {', '.join(sorted(missing))}: choose one "
            "with q_proj, k_proj, v_proj, o_proj, gate_proj and up_proj (or gate_up_proj) and down_proj."
        )
    return linears

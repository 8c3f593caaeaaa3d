"""Attaching context adapters to a frozen language model: one adapter of the PEFT library per group."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from peft import IA3Config, IA3Model, LoraConfig, LoraModel, PeftConfig
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from torch import Tensor, nn

from preftune.adapters.bitfit import BitFitModel, bitfit_config
from preftune.adapters.contexts import ContextHolder, Contexts, Modality, Role, Routing, domain, domains_of
from preftune.adapters.ia3 import ContextIa3, ia3_config
from preftune.adapters.layers import ContextLayer
from preftune.adapters.lora import ContextLora, lora_config
from preftune.adapters.moka import ContextMoka
from preftune.adapters.targets import layer_names
from preftune.errors import PreftuneError
from preftune.settings.adapters import AdapterSettings, GroupSettings


class ContextLoraModel(LoraModel):
    """PEFT's LoRA tuner with our layer."""

    @staticmethod
    def _create_new_module(
        lora_config: LoraConfig, adapter_name: str, target: nn.Module, **options: Any
    ) -> nn.Module:
        return _new_lora(ContextLora, lora_config, adapter_name, target, options)


class ContextMokaModel(LoraModel):
    """PEFT's LoRA tuner with MokA's layer."""

    @staticmethod
    def _create_new_module(
        lora_config: LoraConfig, adapter_name: str, target: nn.Module, **options: Any
    ) -> nn.Module:
        return _new_lora(ContextMoka, lora_config, adapter_name, target, options)


def _new_lora(
    layer: type[ContextLora], config: LoraConfig, name: str, target: nn.Module, options: dict[str, Any]
) -> nn.Module:
    plain = isinstance(target, nn.Linear)
    config.fan_in_fan_out = not plain
    kept = {key: options[key] for key in ("r", "lora_alpha")}
    return layer(target, name, config=config, is_target_conv_1d_layer=not plain, **kept)


class ContextIa3Model(IA3Model):
    """PEFT's IA3 tuner with our layer."""

    @staticmethod
    def _create_new_module(
        ia3_config: IA3Config, adapter_name: str, target: nn.Module, **options: Any
    ) -> nn.Module:
        ia3_config.fan_in_fan_out = not isinstance(target, nn.Linear)
        return ContextIa3(target, adapter_name, config=ia3_config, is_feedforward=options["is_feedforward"])


class Kind(NamedTuple):
    """A kind of adapter: its tuner, PEFT's own where one group is on at every token, and a group's configuration."""

    tuner: type[BaseTuner]
    plain: type[BaseTuner] | None
    config: Callable[[GroupSettings, list[str], list[str], bool], PeftConfig]


KINDS: dict[str, Kind] = {
    "lora": Kind(ContextLoraModel, LoraModel, lora_config),
    "bitfit": Kind(BitFitModel, None, bitfit_config),
    "ia3": Kind(ContextIa3Model, IA3Model, ia3_config),
    "moka": Kind(ContextMokaModel, None, lora_config),
}
"""Kinds that add parameters; `none` and `full` are no adapters (see `preftune.captioning.captioner`)."""


class InstalledAdapters:
    """The adapters of one model.

    Attributes:
        groups: settings of the groups by name.
        layers: the adapted layers by their path in the model.
        configs: PEFT's configuration of each group.
        holder: what tells the layers the contexts of a pass.
    """

    def __init__(self, model: nn.Module, settings: AdapterSettings) -> None:
        self.model, self.kind = model, settings.kind
        self.groups: dict[str, GroupSettings] = {}
        self.layers: dict[str, BaseTunerLayer] = {}
        self.configs: dict[str, PeftConfig] = {}
        self.holder = ContextHolder()
        self._tuner: BaseTuner | None = None
        self._settings = settings

    @property
    def routed(self) -> bool:
        """Whether the layers ask for contexts: not where they are PEFT's own, for one group at every token."""
        return any(isinstance(layer, ContextLayer) for layer in self.layers.values())

    def use(self, contexts: Contexts | None) -> AbstractContextManager[None]:
        """Hold `contexts` for the forward passes inside the block."""
        return (
            nullcontext() if contexts is None or not self.routed else self.holder.use(self._route(contexts))
        )

    @contextmanager
    def follow(self, module: nn.Module, contexts: Sequence[Contexts]) -> Iterator[None]:
        """Inside the block, every pass of `module` has those of the contexts that have the shape of its input."""
        routings = {(one.rows, one.length): self._route(one) for one in contexts}

        def choose(_: nn.Module, arguments: tuple[Tensor, ...], options: dict[str, Any]) -> None:
            given = options.get("inputs_embeds")
            given = given if given is not None else options.get("input_ids", *arguments)
            self.holder.current = routings.get(tuple(given.shape[:2]))

        hook = module.register_forward_pre_hook(choose, with_kwargs=True)
        try:
            with self.holder.use(None):
                yield
        finally:
            hook.remove()

    def _route(self, contexts: Contexts) -> Routing:
        domains = {name: domains_of(group) for name, group in self.groups.items()}
        return Routing(contexts, domains, next(self.model.parameters()).device)

    def add(self, name: str, group: GroupSettings, seed: int, config: PeftConfig | None = None) -> None:
        """Add a group without effect; its draws depend on `seed` and its name alone.

        `config` takes the place of the one that the settings give (a group that comes from a file).

        Raises:
            PreftuneError: the group is there already, the model has not its layers, or the adapters are PEFT's plain ones.
        """
        if name in self.groups:
            raise PreftuneError(f"The adapters have a group named {name} already: choose another name.")
        if self.groups and not self.routed:
            raise PreftuneError(
                f"The group {name} cannot be added: these adapters are PEFT's plain ones, which are on at every token; "
                "install them with groups: {all: {}} instead of context: agnostic."
            )
        if config is None:
            targets, feedforward = layer_names(self.model, self.kind, str(group.targets))
            config = KINDS[self.kind].config(group, targets, feedforward, self._settings.rslora)
        self.groups[name], self.configs[name] = group, config
        with torch.random.fork_rng():
            digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
            torch.manual_seed(int.from_bytes(digest[:8], "big") >> 1)
            self._inject(name, config)
        for layer in self.layers.values():
            layer.set_adapter([group for group in self.groups if group in _names(layer)])
            if isinstance(layer, ContextLayer):
                layer.holder = self.holder
        for _, parameter in self.named_parameters():
            parameter.requires_grad_(True)

    def _inject(self, name: str, config: PeftConfig) -> None:
        if self._tuner is None:
            plain = KINDS[self.kind].plain
            restricted = self._settings.groups is not None or self._settings.context != "agnostic"
            tuner = KINDS[self.kind].tuner if plain is None or restricted else plain
            self._tuner = tuner(self.model, config, name)
        else:
            self._tuner.peft_config[name] = config
            self._tuner.inject_adapter(self.model, name)
        self._tuner._cast_adapter_dtype(name, autocast_adapter_dtype=True)
        self.layers = {
            path: module for path, module in self.model.named_modules() if isinstance(module, BaseTunerLayer)
        }

    def named_parameters(self, group: str | None = None) -> Iterator[tuple[str, nn.Parameter]]:
        """(`<path of the layer>.<parameter with the group's name>`, tensor) of all groups or of one, in the model's order."""
        for path, layer in self.layers.items():
            for container in layer.adapter_layer_names:
                for name, value in getattr(layer, container).items():
                    if name in self.groups and group in (None, name):
                        inner = value.named_parameters() if isinstance(value, nn.Module) else [("", value)]
                        for rest, parameter in inner:
                            yield ".".join(filter(None, (path, container, name, rest))), parameter

    def parameters(self) -> list[nn.Parameter]:
        """Every trainable tensor once (MokA's groups share theirs)."""
        return list({id(parameter): parameter for _, parameter in self.named_parameters()}.values())

    def count(self) -> int:
        """Number of trainable values."""
        return sum(parameter.numel() for parameter in self.parameters())

    @contextmanager
    def merged(self, modality: Modality, role: Role) -> Iterator[None]:
        """Inside the block, passes whose tokens all have this context cost no more than the plain model's.

        Each layer keeps the weights that the groups make of its base layer there, for decoding, where every new token is
        text; other passes (images) are computed as before. Twice the memory of the adapted layers.
        """
        number = domain(modality, role)
        on = [name for name, group in self.groups.items() if number in domains_of(group)]
        layers = [layer for layer in self.layers.values() if isinstance(layer, ContextLayer)]
        with torch.no_grad():
            for layer in layers:
                if layer.foldable:
                    layer.folded = (number, *layer.fold(on))
        try:
            yield
        finally:
            for layer in layers:
                layer.folded = None


def install_adapters(model: nn.Module, settings: AdapterSettings, seed: int = 0) -> InstalledAdapters:
    """Freeze `model` and adapt its target layers; its outputs are unchanged until the adapters are trained.

    Base weights keep their names but for `.base_layer`, as with PEFT. The draws of the adapters come from `seed` alone.
    """
    model.requires_grad_(False)
    adapters = InstalledAdapters(model, settings)
    for name, group in settings.named_groups().items():
        adapters.add(name, group, seed)
    return adapters


def _names(layer: BaseTunerLayer) -> set[str]:
    return {name for container in layer.adapter_layer_names for name in getattr(layer, container)}

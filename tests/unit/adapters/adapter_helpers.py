"""Small models in float64 with adapters that have an effect."""

import torch
from torch import Tensor
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedModel

from preftune.adapters.contexts import Contexts, Segment, domain
from preftune.adapters.install import KINDS as ALL_KINDS
from preftune.adapters.install import InstalledAdapters
from preftune.settings.adapters import AdapterSettings
from tests.unit.models.architectures import ARCHITECTURES

TEXT, IMAGE = domain("text", "caption"), domain("image", "caption")
LAYOUT = (Segment(TEXT, 0, 1), Segment(IMAGE, 1, 5), Segment(TEXT, 5, 9))  # BOS, 4 image tokens, 4 words
IMAGES = torch.tensor([[1, 2, 3, 4], [10, 11, 12, 13]])
KINDS = sorted(ALL_KINDS)
PLAIN_KINDS = sorted({"lora", "bitfit", "ia3"})


def make_model(kind: str = "llama", seed: int = 0) -> PreTrainedModel:
    """A model of 2 layers and width 32 in float64, so that equal means equal."""
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](**ARCHITECTURES[kind])).double().eval()


def settings(kind: str, context: str = "specific", targets: str = "AF", **more: object) -> AdapterSettings:
    """Adapter settings of rank 3."""
    return AdapterSettings.model_validate(
        {"kind": kind, "context": context, "targets": targets, "rank": 3} | more
    )


def disturb(adapters: InstalledAdapters, seed: int = 5) -> None:
    """Give every parameter a value that has an effect."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in adapters.parameters():
        parameter.data = parameter.data.double()
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)


def ids() -> Tensor:
    """Token ids [2, 9]."""
    return torch.arange(18).view(2, 9)


def layout() -> Contexts:
    """The sliced contexts of `ids`."""
    return Contexts.from_segments(2, LAYOUT, IMAGES)


def scattered() -> Contexts:
    """The same as context numbers, so that masks or gathered positions are used."""
    return Contexts.from_ids(layout().to_ids(torch.device("cpu")).expand(2, -1), IMAGES)


def text_only() -> Contexts:
    """No image."""
    return Contexts.from_segments(2, (Segment(TEXT, 0, 9),))


def run(
    model: PreTrainedModel, adapters: InstalledAdapters, contexts: Contexts | None
) -> tuple[Tensor, list[Tensor]]:
    """Logits, and the gradient of a weighted sum of them with respect to each adapter parameter."""
    with adapters.use(contexts):
        logits = model(ids()).logits
    weight = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1), dtype=logits.dtype)
    gradients = torch.autograd.grad((logits * weight).sum(), adapters.parameters())
    return logits.detach(), list(gradients)

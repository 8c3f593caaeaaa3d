"""A small Llama in float64 with adapters that have an effect."""

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from preftune.adapters.context import Contexts, Segment
from preftune.adapters.install import ADAPTERS, InstalledAdapters
from preftune.settings.captioning import AdapterSettings

LAYOUT = (Segment(1, 0, 1), Segment(0, 1, 5), Segment(1, 5, 9))  # BOS, 4 image tokens, 4 words
KINDS = sorted(ADAPTERS)


def make_model(seed: int = 0) -> LlamaForCausalLM:
    """A Llama of 2 layers and width 16 in float64, so that equal means equal."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=True,
    )  # fmt: skip
    return LlamaForCausalLM(config).double().eval()


def settings(kind: str, context: str = "specific", targets: str = "AF") -> AdapterSettings:
    """Adapter settings of rank 3."""
    return AdapterSettings.model_validate({"kind": kind, "context": context, "targets": targets, "rank": 3})


def disturb(adapters: InstalledAdapters) -> None:
    """Give every parameter a value that has an effect."""
    generator = torch.Generator().manual_seed(5)
    for parameter in adapters.parameters():
        parameter.data = parameter.data.double()
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)


def ids() -> Tensor:
    """Token ids [2, 9]."""
    return torch.arange(18).view(2, 9)


def layout(groups: int) -> Contexts:
    """The sliced contexts of `ids`, or one group for all."""
    return Contexts.from_segments(2, LAYOUT if groups == 2 else (Segment(0, 0, 9),))


def run(
    model: LlamaForCausalLM, adapters: InstalledAdapters, contexts: Contexts
) -> tuple[Tensor, list[Tensor]]:
    """Logits, and the gradient of a weighted sum of them with respect to each adapter parameter."""
    with adapters.use(contexts):
        logits = model(ids()).logits
    weight = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1), dtype=logits.dtype)
    gradients = torch.autograd.grad((logits * weight).sum(), adapters.parameters())
    return logits.detach(), list(gradients)

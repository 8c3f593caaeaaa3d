"""What context adapters cost in training: a layer beside the frozen one alone, and a whole pass of the model."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, PreTrainedModel

from preftune.adapters.contexts import Contexts, domain
from preftune.adapters.install import InstalledAdapters, install_adapters
from preftune.adapters.lora import ContextLora
from preftune.bench import inputs
from preftune.bench.alternate import Row, alternate
from preftune.captioning.batch import image_tree
from preftune.captioning.captioner import Captioner, build_captioner
from preftune.settings.adapters import AdapterSettings

LAYERS = ((576, 1536), (576, 576), (1536, 576))
RANKS = (8, 16)
IMAGES, IMAGE_TOKENS, TEXT_TOKENS = 8, 64, 32
CALLS = 8
"""Of a layer in a round: a single one takes milliseconds."""
BAR = 1 / 1.15
WIDTH = 320  # of the image features of the whole model's pass


class _Layers(nn.Module):
    """Linear layers of one shape under the names that adapters look for in a Llama."""

    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__()
        self.config = LlamaConfig()
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(*shape, bias=False) for _ in range(4))


def compare_layers(rounds: int) -> Iterator[Row]:
    """Each shape and rank: our two groups against the frozen layer alone, PEFT's plain LoRA and two masked LoRAs."""
    for shape in LAYERS:
        for rank in RANKS:
            yield from _compare_layer(shape, rank, rounds)


def _compare_layer(shape: tuple[int, int], rank: int, rounds: int) -> Iterator[Row]:
    """Forward and backward of images' and captions' tokens in one packed row, as training has them; B is 0, so that all agree."""
    ours, adapters = _adapted(shape, rank, "specific")
    plain, _ = _adapted(shape, rank, "agnostic")
    text = f"adapted linear {shape[0]} to {shape[1]}, two LoRA groups of rank {rank}"
    peers: tuple[tuple[str, float | None, Callable[[Tensor], Tensor]], ...] = (
        ("the frozen linear alone", BAR, ours.base_layer),
        ("PEFT's plain LoRA (one group)", None, plain),
        ("both LoRAs on all tokens, masked", None, _masked(ours, adapters)),
    )
    contexts = _contexts()
    batches = [_draw(shape, seed) for seed in range(rounds + 1)]
    for peer, target, layer in peers:
        with adapters.use(contexts):
            yield alternate(
                text, peer, "passes/s", target, batches,
                lambda batch, layer=layer: _run(layer, batch),  # type: ignore[misc]
                lambda batch: _run(ours, batch),
                work=lambda batch: CALLS, tolerance=1e-3,
            )  # fmt: skip


def _adapted(shape: tuple[int, int], rank: int, context: str) -> tuple[Any, InstalledAdapters]:
    torch.manual_seed(0)
    layers = _Layers(shape).to(inputs.device())
    settings = AdapterSettings.model_validate(
        {"kind": "lora", "context": context, "rank": rank, "targets": "A"}
    )
    adapters = install_adapters(layers, settings)
    return adapters.layers["q_proj"], adapters


def _masked(layer: ContextLora, adapters: InstalledAdapters) -> Callable[[Tensor], Tensor]:
    """What routing costs where every group meets every token and autograd makes each product."""

    def forward(x: Tensor) -> Tensor:
        routing = adapters.holder.require(x)
        out = layer.base_layer(x)
        for name in layer.groups():
            update = layer.lora_B[name](layer.lora_A[name](x)) * layer.scaling[name]
            out = out + update * routing.selection(name, x.dtype)
        return out  # type: ignore[no-any-return]

    return forward


def _contexts() -> Contexts:
    image, text = domain("image", "caption"), domain("text", "caption")
    one = torch.tensor(IMAGE_TOKENS * [image] + TEXT_TOKENS * [text])
    return Contexts.from_ids(one.repeat(IMAGES)[None].to(inputs.device()))


def _draw(shape: tuple[int, int], seed: int) -> tuple[Tensor, Tensor]:
    """Input and gradient of the output [1, tokens, width]."""
    generator = torch.Generator().manual_seed(seed)
    length = IMAGES * (IMAGE_TOKENS + TEXT_TOKENS)
    x, grad = (torch.randn(1, length, width, generator=generator).to(inputs.device()) for width in shape)
    return x.requires_grad_(), grad


def _run(layer: Callable[[Tensor], Tensor], batch: tuple[Tensor, Tensor]) -> list[float]:
    """Passes forward and backward; a part of output and gradient of the input."""
    x, grad = batch
    for _ in range(CALLS):
        x.grad = None
        out = layer(x)
        out.backward(grad)
    assert x.grad is not None
    return [*out[0, ::97, 0].tolist(), *x.grad[0, ::97, 0].tolist()]


def compare_model(model: PreTrainedModel, copy: PreTrainedModel, tokenizer: Any, rounds: int) -> Row:
    """A pass over captioned images with specific LoRA-8 on all layers, and with the connector alone trained."""
    ours = _captioner(model, tokenizer, {"kind": "lora", "context": "specific", "rank": 8})
    alone = _captioner(copy, tokenizer, {"kind": "none"})
    draws = [torch.Generator().manual_seed(seed) for seed in range(rounds + 1)]
    batches = [
        (
            [
                image_tree(
                    str(n),
                    ours.bos,
                    ours.eos,
                    IMAGE_TOKENS,
                    [torch.randint(100, 40_000, (TEXT_TOKENS,), generator=draw).tolist()],
                )
                for n in range(IMAGES)
            ],
            torch.randn(IMAGES, IMAGE_TOKENS, WIDTH, generator=draw).to(inputs.device()),
        )
        for draw in draws
    ]

    def step(captioner: Captioner, batch: tuple[Any, Tensor]) -> Sequence[float]:
        loss = captioner.nll(*batch)[0].mean()
        loss.backward()
        for parameter in captioner.trainable():
            parameter.grad = None
        return [float(loss.detach())]

    return alternate(
        "training pass, SmolLM2-135M, specific LoRA-8 on all layers, 8 images", "the connector alone trained", "tokens/s", None,
        batches, lambda batch: step(alone, batch), lambda batch: step(ours, batch),
        work=lambda batch: sum(tree.tokens for tree in batch[0]), tolerance=1e-3,
    )  # fmt: skip


def _captioner(model: PreTrainedModel, tokenizer: Any, adapter: dict[str, Any]) -> Captioner:
    """Without dropout, so that both sides compute one loss: new adapters have no effect."""
    return build_captioner(
        inputs.place(model), tokenizer, AdapterSettings.model_validate(adapter), "linear", WIDTH, 0.0
    ).train()

"""Context adapters: no effect at the start, groups, the two forms, gradient checkpointing, wrong use."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from preftune.adapters.context import Contexts, Segment
from preftune.adapters.install import ADAPTERS, InstalledAdapters, install_adapters
from preftune.errors import PreftuneError
from preftune.settings import AdapterSettings

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


def run(model: LlamaForCausalLM, adapters: InstalledAdapters, contexts: Contexts) -> tuple[Tensor, list[Tensor]]:
    """Logits, and the gradient of a weighted sum of them with respect to each adapter parameter."""
    with adapters.use(contexts):
        logits = model(ids()).logits
    weight = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1), dtype=logits.dtype)
    gradients = torch.autograd.grad((logits * weight).sum(), adapters.parameters())
    return logits.detach(), list(gradients)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("targets", ["A", "F", "AF"])
def test_new_adapters_change_nothing(kind: str, targets: str) -> None:
    model = make_model()
    before = model(ids()).logits
    adapters = install_adapters(model, settings(kind, targets=targets))
    after, gradients = run(model, adapters, layout(2))
    assert torch.equal(before, after)
    assert any(gradient.abs().sum() > 0 for gradient in gradients)
    trainable = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    assert trainable == {id(parameter) for parameter in adapters.parameters()}


@pytest.mark.parametrize("kind", KINDS)
def test_slices_equal_one_hot(kind: str) -> None:
    model = make_model()
    adapters = install_adapters(model, settings(kind))
    disturb(adapters)
    sliced, sliced_gradients = run(model, adapters, layout(2))
    reference, reference_gradients = run(model, adapters, Contexts.from_ids(layout(2).to_ids(torch.device("cpu"))))
    torch.testing.assert_close(sliced, reference)
    torch.testing.assert_close(sliced_gradients, reference_gradients)


@pytest.mark.parametrize("kind", KINDS)
def test_tied_groups_equal_agnostic(kind: str) -> None:
    """With both groups equal, outputs are the agnostic ones and the groups' gradients sum to the agnostic gradient."""
    specific, agnostic = make_model(), make_model()
    two, one = install_adapters(specific, settings(kind)), install_adapters(agnostic, settings(kind, "agnostic"))
    disturb(one)
    for pair, single in zip(two.parameters(), one.parameters(), strict=True):
        pair.data = single.data.repeat(2, *[1] * (single.dim() - 1))
    logits_two, gradients_two = run(specific, two, layout(2))
    logits_one, gradients_one = run(agnostic, one, layout(1))
    torch.testing.assert_close(logits_two, logits_one)
    for pair, single in zip(gradients_two, gradients_one, strict=True):
        torch.testing.assert_close(pair.sum(dim=0, keepdim=True), single)


@pytest.mark.parametrize("kind", KINDS)
def test_text_only_leaves_the_image_group_alone(kind: str) -> None:
    model = make_model()
    adapters = install_adapters(model, settings(kind))
    disturb(adapters)
    _, gradients = run(model, adapters, Contexts.from_segments(2, (Segment(1, 0, 9),)))
    assert all(torch.count_nonzero(gradient[0]) == 0 for gradient in gradients)
    assert all(torch.count_nonzero(gradient[1]) > 0 for gradient in gradients)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_may_differ_in_layout(kind: str) -> None:
    """Context ids of a mixed batch give each row what it gets alone."""
    model = make_model()
    adapters = install_adapters(model, settings(kind))
    disturb(adapters)
    mixed = torch.tensor([[1, 0, 0, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0, 1, 1]])
    with adapters.use(Contexts.from_ids(mixed)):
        together = model(ids()).logits
    for row in range(2):
        with adapters.use(Contexts.from_ids(mixed[row : row + 1])):
            torch.testing.assert_close(together[row : row + 1], model(ids()[row : row + 1]).logits)


def test_image_group_alone_changes_image_tokens_only() -> None:
    """One layer's update with a zero text group (P-LoRA) leaves text positions as the base layer has them."""
    model = make_model()
    adapters = install_adapters(model, settings("lora"))
    disturb(adapters)
    layer = adapters.layers["model.layers.0.self_attn.q_proj"]
    layer.adapter.b.data[1] = 0
    x = torch.randn(2, 9, 16, dtype=torch.float64)
    with adapters.use(layout(2)):
        change = (layer(x) - layer.base(x)).abs().sum(dim=-1)
    assert torch.count_nonzero(change[:, 1:5]) == 8
    assert torch.count_nonzero(change) == 8


def test_lora_by_hand() -> None:
    """x = [1, 2], A_image = [1, 1]^T, B_image = [10], A_text = [1, 0]^T, B_text = [5], W = 0: 30 for image, 5 for text."""
    adapter = ADAPTERS["lora"]
    from preftune.adapters.base import Projection

    lora = adapter(Projection("q_proj", 2, 1), 2, 1, torch.Generator().manual_seed(0))
    lora.a.data = torch.tensor([[[1.0], [1.0]], [[1.0], [0.0]]])
    lora.b.data = torch.tensor([[[10.0]], [[5.0]]])
    base = torch.nn.Linear(2, 1, bias=False)
    torch.nn.init.zeros_(base.weight)
    x = torch.tensor([[[1.0, 2.0], [1.0, 2.0]]])
    contexts = Contexts.from_segments(1, (Segment(0, 0, 1), Segment(1, 1, 2)))
    assert lora(x, base, contexts).flatten().tolist() == [30.0, 5.0]


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_checkpointing(kind: str) -> None:
    """The recomputation during a backward pass outside the `use` block sees the forward's contexts."""
    plain, saving = make_model(), make_model()
    results = []
    for model, checkpoint in ((plain, False), (saving, True)):
        adapters = install_adapters(model, settings(kind))
        disturb(adapters)
        if checkpoint:
            hook: Callable = adapters.holder.checkpoint_contexts
            model.gradient_checkpointing_enable({"use_reentrant": False, "context_fn": hook})
        results.append(run(model.train(), adapters, layout(2)))
    torch.testing.assert_close(results[0], results[1])


def test_draws_come_from_the_seed() -> None:
    first, again, other = (install_adapters(make_model(), settings("lora"), seed) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.parameters()[0], other.parameters()[0])


def test_forward_without_contexts_is_refused() -> None:
    model = make_model()
    adapters = install_adapters(model, settings("lora"))
    with pytest.raises(PreftuneError, match="without contexts"):
        model(ids())
    with pytest.raises(PreftuneError, match="current step"), adapters.use(layout(2)):
        model(ids()[:, :3])
    with adapters.use(layout(2)):
        model(ids())
    with pytest.raises(PreftuneError, match="without contexts"):
        model(ids())


def test_segments_must_follow_each_other() -> None:
    with pytest.raises(PreftuneError, match="gap or overlap at position 2"):
        Contexts.from_segments(1, (Segment(0, 0, 2), Segment(1, 3, 4)))


def test_model_of_another_type_is_refused() -> None:
    model = torch.nn.ModuleDict({"c_attn": torch.nn.Linear(4, 12)})
    with pytest.raises(PreftuneError, match=r"no linear layer named .*k_proj, o_proj, q_proj"):
        install_adapters(model, settings("lora", targets="A"))

"""Context adapters: no effect at the start, groups, the two forms, gradient checkpointing, wrong use."""

import pytest
import torch

from preftune.adapters.base import Projection
from preftune.adapters.context import Contexts, Segment
from preftune.adapters.install import ADAPTERS, install_adapters
from preftune.errors import PreftuneError
from tests.unit.adapters.adapter_helpers import KINDS, disturb, ids, layout, make_model, run, settings


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
    reference, reference_gradients = run(
        model, adapters, Contexts.from_ids(layout(2).to_ids(torch.device("cpu")))
    )
    torch.testing.assert_close(sliced, reference)
    torch.testing.assert_close(sliced_gradients, reference_gradients)


@pytest.mark.parametrize("kind", KINDS)
def test_tied_groups_equal_agnostic(kind: str) -> None:
    """With both groups equal, outputs are the agnostic ones and the groups' gradients sum to its gradient."""
    specific, agnostic = make_model(), make_model()
    two, one = (
        install_adapters(specific, settings(kind)),
        install_adapters(agnostic, settings(kind, "agnostic")),
    )
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
    """x = [1, 2], W = 0: (x [1, 1]^T) 10 = 30 for the image group, (x [1, 0]^T) 5 = 5 for the text group."""
    adapter = ADAPTERS["lora"]
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
            hook = adapters.holder.checkpoint_contexts
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

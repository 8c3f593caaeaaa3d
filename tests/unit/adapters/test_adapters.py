"""Context adapters in a model: no effect at the start, groups, gradient checkpointing, compilation, wrong use."""

from collections.abc import Callable

import pytest
import torch

from preftune.adapters.contexts import Contexts, Segment, domain
from preftune.adapters.install import install_adapters
from preftune.errors import PreftuneError
from tests.unit.adapters.adapter_helpers import (
    KINDS,
    PLAIN_KINDS,
    TEXT,
    disturb,
    ids,
    layout,
    make_model,
    run,
    scattered,
    settings,
    text_only,
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("targets", ["A", "F", "AF"])
def test_new_adapters_change_nothing(kind: str, targets: str) -> None:
    model = make_model()
    before = model(ids()).logits
    adapters = install_adapters(model, settings(kind, targets=targets))
    after, gradients = run(model, adapters, layout())
    assert torch.equal(before, after)
    assert any(gradient.abs().sum() > 0 for gradient in gradients)
    trainable = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    assert trainable == {id(parameter) for parameter in adapters.parameters()}


@pytest.mark.parametrize("rank", [3, 40])  # masked and gathered
@pytest.mark.parametrize("kind", KINDS)
def test_slices_equal_context_numbers(kind: str, rank: int) -> None:
    model = make_model()
    adapters = install_adapters(model, settings(kind, rank=rank))
    disturb(adapters)
    sliced, sliced_gradients = run(model, adapters, layout())
    found, gradients = run(model, adapters, scattered())
    torch.testing.assert_close(found, sliced)
    torch.testing.assert_close(gradients, sliced_gradients)


@pytest.mark.parametrize("kind", PLAIN_KINDS)
def test_tied_groups_equal_agnostic(kind: str) -> None:
    """With both groups equal, outputs are the agnostic ones and the groups' gradients sum to its gradient.

    For LoRA and IA3 the agnostic model is PEFT's own (see test_peft.py).
    """
    specific, agnostic = make_model(), make_model()
    two = install_adapters(specific, settings(kind))
    one = install_adapters(agnostic, settings(kind, "agnostic"))
    disturb(one)
    single = {name.replace(".all", ""): parameter for name, parameter in one.named_parameters()}
    for group in two.groups:
        for name, parameter in two.named_parameters(group):
            parameter.data = single[name.replace(f".{group}", "")].data.clone()
    logits_two, gradients_two = run(specific, two, layout())
    logits_one, gradients_one = run(agnostic, one, None if kind != "bitfit" else layout())
    torch.testing.assert_close(logits_two, logits_one)
    names = [name for name, _ in two.named_parameters()]
    sums = {name: torch.zeros_like(value) for name, value in single.items()}
    for name, gradient in zip(names, gradients_two, strict=True):
        sums[name.replace(".image", "").replace(".text", "")] += gradient
    torch.testing.assert_close(list(sums.values()), gradients_one)


@pytest.mark.parametrize("contexts", [text_only, lambda: Contexts.from_ids(torch.full((2, 9), TEXT))])
@pytest.mark.parametrize("kind", PLAIN_KINDS)
def test_text_only_leaves_the_image_group_alone(kind: str, contexts: Callable[[], Contexts]) -> None:
    model = make_model()
    adapters = install_adapters(model, settings(kind))
    disturb(adapters)
    _, gradients = run(model, adapters, contexts())
    for (name, _), gradient in zip(adapters.named_parameters(), gradients, strict=True):
        assert bool(torch.count_nonzero(gradient) > 0) is (".text" in name)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_may_differ_in_layout(kind: str) -> None:
    """Context numbers of a mixed batch give each row what it gets alone."""
    model = make_model()
    adapters = install_adapters(model, settings(kind))
    disturb(adapters)
    image = domain("image", "caption")
    mixed = torch.full((2, 9), TEXT)
    mixed[0, 1:3], mixed[1, 4:6] = image, image
    if kind == "moka":
        mixed[1, 4:6], mixed[1, 1:3] = TEXT, image
    places = torch.tensor([[1, 2], [10, 11]]) if kind == "moka" else None
    with adapters.use(Contexts.from_ids(mixed, places)):
        together = model(ids()).logits
    for row in range(2):
        alone = Contexts.from_ids(mixed[row : row + 1], None if places is None else places[:1])
        with adapters.use(alone):
            torch.testing.assert_close(together[row : row + 1], model(ids()[row : row + 1]).logits)


def test_p_lora_changes_image_tokens_only() -> None:
    """The image group alone: one layer's update leaves text positions as the base layer has them, bit for bit."""
    model = make_model()
    adapters = install_adapters(model, settings("lora", "image"))
    disturb(adapters)
    layer = adapters.layers["model.layers.0.self_attn.q_proj"]
    x = torch.randn(2, 9, 32, dtype=torch.float64)
    for contexts in (layout(), scattered()):
        with adapters.use(contexts):
            change = (layer(x) - layer.base_layer(x)).abs().sum(dim=-1)
        assert torch.count_nonzero(change[:, 1:5]) == 8
        assert torch.count_nonzero(change) == 8


def test_p_lora_is_the_specific_adapter_with_a_silent_text_group() -> None:
    one, two = make_model(), make_model()
    alone, both = install_adapters(one, settings("lora", "image")), install_adapters(two, settings("lora"))
    disturb(alone)
    own = dict(alone.named_parameters())
    for name, parameter in both.named_parameters("image"):
        parameter.data = own[name].data.clone()
    torch.testing.assert_close(run(one, alone, layout())[0], run(two, both, layout())[0])


GROUPS = {
    "image": {"modalities": ["image"], "rank": 2},
    "question": {"modalities": ["text"], "roles": ["user"], "targets": "A"},
    "text": {"modalities": ["text"], "rank": 4, "alpha": 2.0},
    "all": {"alpha": 3.0},
}


@pytest.mark.parametrize("kind", PLAIN_KINDS)
def test_groups_by_modality_and_role_overlap(kind: str) -> None:
    """A layer's output at each token is what the groups on there give; LoRA and BitFit add, IA3 multiplies."""
    model = make_model()
    groups = {
        name: {key: value for key, value in group.items() if kind == "lora" or key != "alpha"}
        for name, group in GROUPS.items()
    }
    adapters = install_adapters(model, settings(kind, groups=groups))
    disturb(adapters)
    tokens = [("image", "user"), ("text", "user"), ("text", "assistant")]
    on = [{"image", "all"}, {"question", "text", "all"}, {"text", "all"}]
    numbers = torch.tensor([[domain(*one) for one in tokens]])  # type: ignore[arg-type]
    for path, layer in adapters.layers.items():
        base = layer.base_layer
        x = torch.randn(1, 3, base.in_features, dtype=torch.float64)
        with adapters.use(Contexts.from_ids(numbers)):
            found = layer(x)
        for place, groups in enumerate(on):
            weight, bias = layer.fold(sorted(groups))  # type: ignore[operator]
            wanted = torch.nn.functional.linear(x[:, place], weight, bias)
            torch.testing.assert_close(found[:, place], wanted, msg=path)
    ranks = {name: config.r for name, config in adapters.configs.items()} if kind == "lora" else {}
    assert not ranks or ranks == {"image": 2, "question": 3, "text": 4, "all": 3}
    names = [name for name, _ in adapters.named_parameters("question")]
    assert names and not any("mlp" in name for name in names)


def test_scaling() -> None:
    adapters = install_adapters(make_model(), settings("lora", groups=GROUPS))
    layer = adapters.layers["model.layers.0.self_attn.q_proj"]
    assert layer.scaling == {"image": 1, "question": 1, "text": 2 / 4, "all": 1}
    adapters = install_adapters(make_model(), settings("lora", alpha=6.0, rslora=True))
    layer = adapters.layers["model.layers.0.self_attn.q_proj"]
    assert layer.scaling == pytest.approx({"image": 6 / 3**0.5, "text": 6 / 3**0.5})
    with pytest.raises(ValueError, match="needs alpha"):
        settings("lora", rslora=True)
    with pytest.raises(ValueError, match="leave them out for moka"):
        settings("moka", alpha=4.0)


@pytest.mark.parametrize("contexts", [layout, scattered])
@pytest.mark.parametrize("kind", PLAIN_KINDS)
@torch.no_grad()
def test_adding_a_group_changes_no_bit_where_it_is_off(kind: str, contexts: Callable[[], Contexts]) -> None:
    model = make_model()
    adapters = install_adapters(model, settings(kind))
    disturb(adapters)
    with adapters.use(contexts()):
        before = model(ids()).logits
    group = settings(kind, groups={"user": {"roles": ["user"]}}).named_groups()["user"]
    adapters.add("user", group, seed=0)
    for _, parameter in adapters.named_parameters("user"):
        parameter += 1
    with adapters.use(contexts()):
        assert torch.equal(model(ids()).logits, before)
    with adapters.use(Contexts.from_segments(2, (Segment(domain("text", "user"), 0, 9),))):
        assert not torch.equal(model(ids()).logits, before)
    with pytest.raises(PreftuneError, match="a group named user already"):
        adapters.add("user", group, seed=0)


@pytest.mark.parametrize("kind", PLAIN_KINDS)
@torch.no_grad()
def test_merged_text_weights_change_nothing(kind: str) -> None:
    model = make_model()
    adapters = install_adapters(model, settings(kind))
    disturb(adapters)

    def logits() -> list[torch.Tensor]:
        found = []
        for contexts in (text_only(), layout()):
            with adapters.use(contexts):
                found.append(model(ids()).logits)
        return found

    wanted = logits()
    with adapters.merged("text", "caption"):
        found = logits()
    torch.testing.assert_close(found, wanted)
    assert torch.equal(found[1], wanted[1])  # images are computed as before
    assert all(torch.equal(a, b) for a, b in zip(logits(), wanted, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_checkpointing(kind: str) -> None:
    """The recomputation during a backward pass outside the `use` block sees the forward's contexts."""
    results = []
    for saving in (False, True):
        model = make_model()
        adapters = install_adapters(model, settings(kind))
        disturb(adapters)
        if saving:
            hook = adapters.holder.checkpoint_contexts
            model.gradient_checkpointing_enable({"use_reentrant": False, "context_fn": hook})
        results.append(run(model.train(), adapters, layout()))
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("contexts", [layout, scattered])
@pytest.mark.parametrize("kind", PLAIN_KINDS)
def test_compiled_layers(kind: str, contexts: Callable[[], Contexts]) -> None:
    """Traced by Dynamo and differentiated by AOTAutograd, without a C++ compiler."""
    results = []
    for compiled in (False, True):
        model = make_model()
        adapters = install_adapters(model, settings(kind))
        disturb(adapters)
        if compiled:
            for layer in model.model.layers:
                layer.compile(backend="aot_eager")
        results.append(run(model, adapters, contexts()))  # type: ignore[operator]
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("kind", PLAIN_KINDS)
def test_autocast(kind: str) -> None:
    """Adapters keep fp32 weights and gradients beside a computation in bfloat16."""
    model = make_model().float()
    adapters = install_adapters(model, settings(kind))
    with adapters.use(layout()), torch.autocast("cpu", torch.bfloat16):
        logits = model(ids()).logits
    gradients = torch.autograd.grad(logits.float().sum(), adapters.parameters(), allow_unused=True)
    assert logits.dtype == torch.bfloat16
    assert all(one.dtype == torch.float32 for one in (*adapters.parameters(), *gradients))


def test_a_small_ia3_scale_counts_in_bfloat16() -> None:
    """1.003 is 1 in bfloat16; the change of 0.003 is not lost, whatever each product is rounded to."""
    model = make_model().bfloat16()
    adapters = install_adapters(model, settings("ia3"))
    for parameter in adapters.parameters():
        parameter.data = torch.full_like(parameter, 1.003, dtype=torch.float32)
    layer = adapters.layers["model.layers.0.self_attn.k_proj"]
    x = torch.randn(2, 9, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    with adapters.use(layout()), torch.no_grad():
        ratio = layer(x).float().norm() / layer.base_layer(x).float().norm()
    assert float(ratio) == pytest.approx(1.003, abs=5e-4)


@pytest.mark.parametrize("kind", ["lora", "ia3"])
def test_no_group_is_added_to_plain_peft_adapters(kind: str) -> None:
    """They are on at every token, and so would be the group."""
    adapters = install_adapters(make_model(), settings(kind, "agnostic"))
    group = settings(kind, "image").named_groups()["image"]
    with pytest.raises(PreftuneError, match=r"group image cannot be added: .* install them with groups"):
        adapters.add("image", group, seed=0)
    assert list(adapters.groups) == ["all"]


def test_draws_come_from_the_seed() -> None:
    """And from it alone: the global generator is neither read nor moved."""
    state = torch.random.get_rng_state()
    first, again, other = (install_adapters(make_model(), settings("lora"), seed) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.parameters()[0], other.parameters()[0])
    model = make_model()
    torch.random.set_rng_state(state)
    install_adapters(model, settings("lora"))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_forward_without_contexts_is_refused() -> None:
    model = make_model()
    adapters = install_adapters(model, settings("lora"))
    with pytest.raises(PreftuneError, match="without contexts"):
        model(ids())
    with pytest.raises(PreftuneError, match="current step"), adapters.use(layout()):
        model(ids()[:, :3])
    with adapters.use(layout()):
        model(ids())
    with pytest.raises(PreftuneError, match="without contexts"):
        model(ids())


def test_bad_contexts() -> None:
    with pytest.raises(PreftuneError, match="gap or overlap at position 2"):
        Contexts.from_segments(1, (Segment(0, 0, 2), Segment(1, 3, 4)))
    with pytest.raises(PreftuneError, match="99 is no context number"):
        Contexts.from_ids(torch.tensor([[0, 99]]))
    with pytest.raises(ValueError, match="modalities"):
        settings("lora", groups={"a": {"modalities": ["picture"]}})
    with pytest.raises(ValueError, match="lower-case"):
        settings("lora", groups={"a.b": {}})


def test_layers_that_are_not_there_or_quantised_are_refused() -> None:
    model = make_model()
    model.config.model_type = "lama"
    with pytest.raises(PreftuneError, match=r"of a lama model .*'llama'"):
        install_adapters(model, settings("lora"))
    model.config.model_type = "opt"
    with pytest.raises(PreftuneError, match="no layer named out_proj"):
        install_adapters(model, settings("lora"))

    class Quantised(torch.nn.Linear):
        pass

    model = make_model()
    model.model.layers[1].self_attn.q_proj = Quantised(32, 32)
    with pytest.raises(PreftuneError, match=r"q_proj is a Quantised.*without quantisation"):
        install_adapters(model, settings("lora"))

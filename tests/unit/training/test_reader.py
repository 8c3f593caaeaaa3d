"""The one forward pass, against plain calls of transformers' models on one prompt and branch at a time.

Tolerances: fp32 sums in another order. Log-probabilities are about -4 (eps 5e-7 there) and differ by up to 1e-6, so
1e-5 absolute; gradients by up to 1e-6 of their norm, so 1e-5 of it. A wrong mask or position differs by tenths.
"""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

import preftune.models.lsw  # noqa: F401 (known to the Auto classes by its import)
from preftune import progress
from preftune.errors import PreftuneError
from preftune.settings.training import TrainingSettings
from preftune.training.packing import Layout, pad
from preftune.training.reader import TreeReader
from preftune.training.trees import Tree

CONTEXT = 64
LLAMA = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GEMMA = LLAMA | {"head_dim": 8, "sliding_window": 8, "final_logit_softcapping": None}
OPT = LLAMA | {"init_std": 0.2, "word_embed_proj_dim": 32, "ffn_dim": 64}
GPT2 = LLAMA | {"n_positions": CONTEXT, "n_embd": 32, "n_layer": 2, "n_head": 4}
ROPE = {"rope_type": "default", "rope_theta": 10000.0}
LONGROPE = ROPE | {
    "rope_type": "longrope",
    "short_factor": [1.0] * 4,
    "long_factor": [4.0] * 4,
    "original_max_position_embeddings": 24,
    "factor": 4.0,
}
PACKED = {
    "llama": LLAMA,
    "qwen2": LLAMA,
    "qwen3": LLAMA | {"head_dim": 8},
    "smollm3": LLAMA | {"no_rope_layer_interval": 2},
    "phi3": LLAMA,
    "olmo2": LLAMA,
    "gpt_neox": LLAMA,
    "opt": OPT,
    "gpt2": GPT2,
    "lsw_transformer": LLAMA | {"d_vocab": 16},
}
PADDED = {
    "mistral": LLAMA | {"sliding_window": 8},
    "gemma2": GEMMA,
    "gemma3_text": GEMMA,
    "gpt_oss": LLAMA
    | {"head_dim": 8, "num_local_experts": 2, "num_experts_per_tok": 1, "rope_parameters": ROPE},
    "bloom": LLAMA | {"n_layer": 2, "n_head": 4},
    "mamba": LLAMA | {"state_size": 4},
}
TREES = [
    Tree("one", [11, 12, 13, 14, 15, 16, 17], ([21, 22, 23, 24, 25],)),
    Tree("pair", [31, 32], ([41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51], [41, 42])),
    Tree("four", [12, 11, 33, 5, 52], ([21, 22, 23, 9], [21, 22, 24], [7], [21, 22, 23, 9, 6, 8, 3])),
    Tree("short", [60], ([61],)),
]
OTHERS = [Tree("other", [11, 12, 13, 8], ([21, 22], [54] * 20)), Tree("another", [55] * 9, ([56],))]
CHECKPOINTING = TrainingSettings(steps=1, batch=1, learning_rate=1.0, gradient_checkpointing=True)


every_packed = pytest.mark.parametrize("kind", PACKED)
every_padded = pytest.mark.parametrize("kind", PADDED)
every_model = pytest.mark.parametrize("kind", PACKED | PADDED)


def make_model(kind: str, **changes: object) -> PreTrainedModel:
    """A random model of two layers whose distributions are far from uniform."""
    torch.manual_seed(0)
    config = CONFIG_MAPPING[kind](**(PACKED | PADDED)[kind] | changes)
    return AutoModelForCausalLM.from_config(config).eval()


def read(reader: TreeReader, trees: list[Tree], layout: Layout | None = None) -> dict[str, Tensor]:
    """Log-probabilities of each tree's branch tokens, by name."""
    layout = reader.layout(trees) if layout is None else layout
    values, _ = reader.log_probabilities(reader.states(layout), layout)
    sizes = [sum(map(len, tree.branches)) for tree in trees]
    return {tree.name: part for tree, part in zip(trees, values.split(sizes), strict=True)}


def read_plainly(model: PreTrainedModel, trees: list[Tree]) -> dict[str, Tensor]:
    """The same by one call of the model for every prompt and branch."""
    found = {}
    for tree in trees:
        parts = []
        for branch in tree.branches:
            table = model(input_ids=torch.tensor([[*tree.prompt, *branch]])).logits[0].float().log_softmax(-1)
            first = len(tree.prompt) - 1
            parts.append(table[torch.arange(first, first + len(branch)), torch.tensor(branch)])
        found[tree.name] = torch.cat(parts)
    return found


def gradients(model: PreTrainedModel, values: dict[str, Tensor]) -> Tensor:
    """Of a random weighted sum, with respect to all parameters, as one vector."""
    joined = torch.cat([values[tree.name] for tree in TREES])
    weights = torch.randn(len(joined), generator=torch.Generator().manual_seed(1))
    parts = torch.autograd.grad((weights * joined).sum(), list(model.parameters()))
    return torch.cat([part.flatten() for part in parts])


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    for name, values in wanted.items():
        torch.testing.assert_close(
            found[name], values, atol=1e-5, rtol=0, msg=lambda text, name=name: f"tree {name}: {text}"
        )


def assert_same_gradients(found: Tensor, wanted: Tensor) -> None:
    assert wanted.norm() > 1 and (found - wanted).norm() < 1e-5 * wanted.norm()


@every_packed
def test_packed_equals_the_plain_model(kind: str) -> None:
    """Values and the gradients of every parameter."""
    model = make_model(kind)
    plain = copy.deepcopy(model)
    reader = TreeReader(model)
    assert reader.packs and reader.layout(TREES).spans is not None
    found, wanted = read(reader, TREES), read_plainly(plain, TREES)
    assert torch.cat(list(wanted.values())).std() > 0.3
    assert_same(found, wanted)
    assert_same_gradients(gradients(model, found), gradients(plain, wanted))


@every_padded
def test_others_fall_back_to_padded_batches(kind: str) -> None:
    """Windows, sinks, soft caps, position biases, recurrence: the reader must leave what they compute as it was."""
    model = make_model(kind)
    plain = copy.deepcopy(model)
    reader = TreeReader(model)
    assert not reader.packs
    with torch.no_grad():
        assert_same(read(reader, TREES), read_plainly(plain, TREES))


@every_packed
def test_the_arrangement_changes_nothing(kind: str) -> None:
    """Order, passes, padding, other trees in the pass, fill."""
    reader = TreeReader(make_model(kind))
    names = {tree.name for tree in TREES}

    @torch.no_grad()
    def parts(*groups: list[Tree], make: Callable[[list[Tree]], Layout] = reader.layout) -> dict[str, Tensor]:
        return {k: v for trees in groups for k, v in read(reader, trees, make(trees)).items() if k in names}

    together = parts(TREES)
    assert_same(parts(TREES[::-1]), together)
    assert_same(parts(*([tree] for tree in TREES)), together)
    assert_same(parts(TREES[2:], TREES[:2]), together)
    assert_same(parts([OTHERS[0], *TREES, OTHERS[1]]), together)
    assert_same(parts(TREES, make=pad), together)
    assert_same(parts([*TREES, *OTHERS], make=pad), together)
    reader.fill = 64
    assert reader.layout(TREES).input_ids.shape == (1, 64)
    assert_same(parts(TREES), together)


def test_long_rope_models_are_read_up_to_their_first_length() -> None:
    """Phi-3's long context: the frequencies of a whole pass follow from its longest path, so a long one is refused."""
    model = make_model("phi3", rope_parameters=LONGROPE, original_max_position_embeddings=24)
    plain, reader = copy.deepcopy(model), TreeReader(model)
    with torch.no_grad():
        assert_same(read(reader, TREES), read_plainly(plain, TREES))
    with pytest.raises(PreftuneError, match="example long has 30 tokens but the model reads 24 at most"):
        reader.layout([*TREES, Tree("long", [55] * 20, ([56] * 10,))])


@pytest.mark.parametrize(
    ("kind", "changes"),
    [("granite", {"logits_scaling": 4.0}), ("cohere", {}), ("gemma2", {"final_logit_softcapping": 2.0})],
)
def test_logits_that_are_more_than_the_output_embedding_are_refused(kind: str, changes: dict) -> None:
    config = CONFIG_MAPPING[kind](**(PADDED.get(kind, LLAMA) | changes))
    model = AutoModelForCausalLM.from_config(config).eval()
    with pytest.raises(PreftuneError, match="changes its logits after the output embedding"):
        TreeReader(model)


@pytest.mark.parametrize("kind", ["llama", "mistral"])
def test_markers_leave_the_log_probabilities(kind: str) -> None:
    """One more token is read; the greedy flags belong to the same tokens, each branch's last one included."""
    model = make_model(kind)
    reader = TreeReader(model)
    trees = [Tree(t.name, t.prompt, tuple([*branch, 2] for branch in t.branches)) for t in TREES]
    plain = read_plainly(model, trees)
    with torch.no_grad():
        layout = reader.layout(trees, marker=2)
        values, flags = reader.log_probabilities(reader.states(layout), layout, greedy=True)
        rows = [[*tree.prompt, *branch] for tree in trees for branch in tree.branches]
        likeliest = [model(input_ids=torch.tensor([row])).logits[0].argmax(-1).tolist() for row in rows]
    torch.testing.assert_close(values, torch.cat(list(plain.values())), atol=1e-5, rtol=0)
    assert (layout.targets[layout.last_tokens] == 2).all()
    prompts = [len(tree.prompt) for tree in trees for _ in tree.branches]
    assert flags.tolist() == [
        row[place] == likely[place - 1]
        for row, likely, prompt in zip(rows, likeliest, prompts, strict=True)
        for place in range(prompt, len(row))
    ]


@pytest.mark.parametrize("kind", ["llama", "opt", "gpt2", "mistral"])
def test_embeddings_in_place_of_ids(kind: str) -> None:
    model = make_model(kind)
    reader = TreeReader(model)
    layout = reader.layout(TREES)
    with torch.no_grad():
        embeddings = model.get_input_embeddings()(layout.input_ids)
        states = reader.states(layout)
        torch.testing.assert_close(reader.states(layout, embeddings), states, atol=1e-6, rtol=0)
        assert (reader.states(layout, 2 * embeddings) - states).abs().max() > 0.01


def test_bfloat16_is_packed_too() -> None:
    """The trial's tolerance is that of the model's own arithmetic."""
    assert TreeReader(make_model("llama").bfloat16()).packs


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_model_stays(training: bool) -> None:
    model = make_model("llama").train(training)
    assert TreeReader(model).packs and {module.training for module in model.modules()} == {training}


def test_padded_batches_are_announced_once_a_class(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("preftune.training.reader._said", set())
    monkeypatch.setattr(progress, "_terminal", None)
    models = [make_model(kind) for kind in ("mistral", "mistral", "bloom", "llama")]
    capsys.readouterr()
    for model in models:
        TreeReader(model)
    assert capsys.readouterr().err.splitlines() == [
        f"{name} cannot read packed trees: padded batches are used, which is slower"
        for name in ("MistralForCausalLM", "BloomForCausalLM")
    ]


@every_model
def test_generation_stays(kind: str) -> None:
    """Tokens and logits of greedy decoding with a cache, the second prompt padded on the left."""
    model = make_model(kind)
    ids, mask = torch.tensor([[5, 6, 7, 8, 9], [0, 0, 5, 3, 4]]), torch.tensor([[1] * 5, [0, 0, 1, 1, 1]])
    options = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False, "output_logits": True}

    def generate() -> tuple[Tensor, Tensor]:
        found = model.generate(ids, attention_mask=mask, return_dict_in_generate=True, **options)
        return found.sequences, torch.stack(found.logits)

    before = generate()
    reader = TreeReader(model)
    with torch.no_grad():
        read(reader, TREES)
    after = generate()
    assert before[0].shape == (2, 10) and torch.equal(after[0], before[0])
    torch.testing.assert_close(after[1], before[1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["llama", "opt", "gpt2", "lsw_transformer", "mistral"])
def test_trees_longer_than_the_context_are_refused(kind: str) -> None:
    """A last token that is only predicted needs no position, unless a marker makes it read."""
    model = make_model(kind)
    plain = copy.deepcopy(model)
    reader = TreeReader(model)
    fits = Tree("fits", [5] * 40, ([6], [7] * (CONTEXT - 40) + [2]))
    found = read(reader, [fits])["fits"]
    assert reader.context == CONTEXT and len(found) == CONTEXT - 40 + 2
    whole = Tree("fits", fits.prompt, (fits.branches[0], fits.branches[1][:-1]))
    assert_same({"fits": found[:-1]}, read_plainly(plain, [whole]))
    with pytest.raises(PreftuneError, match="example fits has 65 tokens but the model reads 64 at most"):
        reader.layout([*TREES, fits, *TREES], marker=2)
    long = Tree("long", [5] * 41, fits.branches)
    with pytest.raises(PreftuneError, match="example long has 66 tokens but the model reads 64 at most"):
        reader.layout([*TREES, fits, long])


@every_packed
def test_gradient_checkpointing_changes_nothing(kind: str) -> None:
    """In eval mode no dropout may come with it; that layers are computed twice shows that it is on."""
    model = make_model(kind)
    reader = TreeReader(model)
    layer = next(module for module in model.modules() if isinstance(module, GradientCheckpointingLayer))
    passes: list[str] = []
    next(layer.children()).register_forward_pre_hook(lambda *_: passes.append("forward"))
    wanted = read(reader, TREES)
    wanted_gradients = gradients(model, wanted)
    assert len(passes) == 1
    reader.prepare(CHECKPOINTING)
    found = read(reader, TREES)
    found_gradients = gradients(model, found)
    assert len(passes) == 3
    assert_same(found, wanted)
    assert_same_gradients(found_gradients, wanted_gradients)

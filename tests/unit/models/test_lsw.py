"""The LSW Transformer against a plain transcription of its formulas.

Tolerances: fp32 sums in another order, on logits of size 3; 1e-5 absolute. A wrong half, sign or mask differs by tenths.
"""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from preftune.models.lsw import PAPER_150M, LswConfig, LswForCausalLM
from preftune.models.projected import ProjectedHead
from preftune.settings.training import TrainingSettings
from preftune.training.logprobs import token_log_probabilities
from preftune.training.packing import pad
from preftune.training.reader import TreeReader
from preftune.training.trees import Tree
from tests.unit.models.lsw_models import IDS, TINY, assert_close, every_variant, make_model

TREES = [
    Tree("pair", [31, 32, 33], ([11, 12, 13, 14], [11, 15])),
    Tree("three", [12, 11], ([21, 22, 23, 9], [7], [21, 22, 24])),
]


def plain_states(model: LswForCausalLM, ids: Tensor) -> Tensor:
    """The formulas for one row [seq] -> [seq, width], with positions counted from its end as in the released model.

    Queries meet registers, which do not turn, at a place of their own: counted from the end it would be another one for
    every length of the row, so that with them positions are counted from the start, backwards.
    """
    config, state = model.config, model.state_dict()
    seq, heads, size = len(ids), config.n_heads, config.d_model // config.n_heads

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ state[f"{name}.weight"].T + state.get(f"{name}.bias", torch.tensor(0.0))

    def norm(name: str, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]

    def rotate(x: Tensor) -> Tensor:
        base = config.rope_base_freq * config.rope_ntk_scale ** (size / (size - 2))
        turned = torch.empty_like(x)
        for place in range(seq):
            end = 0 if config.n_registers else seq - 1
            position = end - place if config.rope_reversed else place
            for k in range(size // 2):
                angle = position * base ** (-2 * k / size)
                one, two = x[:, place, k], x[:, place, k + size // 2]
                turned[:, place, k] = one * math.cos(angle) - two * math.sin(angle)
                turned[:, place, k + size // 2] = two * math.cos(angle) + one * math.sin(angle)
        return turned

    def attend(name: str, x: Tensor) -> Tensor:
        q, k, v = (linear(f"{name}.proj_{p}", x).view(seq, heads, size).transpose(0, 1) for p in "qkv")
        if config.qk_norm:
            q, k = (
                h
                / (h.square().mean(-1, keepdim=True).sqrt() + 1e-5)
                * state[f"{name}.{p}_norm.weight"][:, None]
                for p, h in (("q", q), ("k", k))
            )
        q, k = rotate(q), rotate(k)
        visible = torch.ones(seq, seq).tril()
        if config.n_registers:
            k = torch.cat([state[f"{name}.registers_k"][0], k], dim=1)
            v = torch.cat([state[f"{name}.registers_v"][0], v], dim=1)
            visible = torch.cat([torch.ones(seq, config.n_registers), visible], dim=1)
        scores = (q @ k.transpose(1, 2) / math.sqrt(size)).masked_fill(visible == 0, -math.inf)
        mixed = scores.softmax(-1) @ v
        return linear(f"{name}.proj_o", mixed.transpose(0, 1).reshape(seq, -1))

    def feed(name: str, x: Tensor) -> Tensor:
        inner = linear(f"{name}.fc1", x)
        if not config.gated_ffn:
            return linear(f"{name}.fc2", F.gelu(inner))
        value, gate = inner[:, : config.d_ffn], inner[:, config.d_ffn :]
        return linear(f"{name}.fc2", value * gate / (1 + (-gate).exp()))

    x = linear("model.input_proj", state["model.input_embedding.embedding.weight"][ids])
    x = norm("model.input_norm", x)
    for layer in range(config.n_layers):
        name = f"model.blocks.{layer}"
        x = x + attend(f"{name}.att", norm(f"{name}.att_norm", x))
        x = x + feed(f"{name}.ffn", norm(f"{name}.ffn_norm", x))
    return norm("model.output_norm", x)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@every_variant
def test_equals_the_formulas(variant: str, attention: str) -> None:
    """States, and logits through the projection and the table; the last hidden state is behind the final norm."""
    model = make_model(variant)
    model.set_attn_implementation(attention)
    with torch.no_grad():
        found = model(input_ids=IDS[None], output_hidden_states=True)
        last = model(input_ids=IDS[None], logits_to_keep=2).logits
    states = plain_states(model, IDS)
    projected = states @ model.head_proj.weight.T
    if model.head_proj.bias is not None:
        projected = projected + model.head_proj.bias
    logits = projected @ model.get_input_embeddings().weight.T
    assert logits.std() > 1
    assert_close(found.hidden_states[-1][0], states)
    assert_close(found.logits[0], logits)
    assert_close(last[0], logits[-2:])
    assert_close(model.get_output_embeddings()(states), logits)


@every_variant
def test_variants_differ(variant: str) -> None:
    """Each setting shows in the numbers, so that the comparison above is one of it."""
    plain = make_model()
    with torch.no_grad():
        states = make_model(variant)(input_ids=IDS[None]).logits
        same = torch.equal(states, plain(input_ids=IDS[None]).logits)
    assert same == (variant == "released")


@every_variant
def test_cached_decoding_equals_one_pass(variant: str) -> None:
    """Token by token and in pieces, although positions of the whole row count from its end."""
    model = make_model(variant)
    with torch.no_grad():
        wanted = model(input_ids=IDS[None]).logits
        for sizes in ([1] * len(IDS), [4, 1, 5]):
            cache, parts = None, []
            for piece in IDS[None].split(sizes, dim=1):
                output = model(input_ids=piece, past_key_values=cache, use_cache=True)
                cache = output.past_key_values
                parts.append(output.logits)
            assert_close(torch.cat(parts, dim=1), wanted)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("variant", ["released", "both"])
def test_padding_on_the_left_changes_nothing(variant: str, attention: str) -> None:
    model = make_model(variant)
    model.set_attn_implementation(attention)
    short = IDS[:6]
    rows = torch.stack([IDS, torch.cat([torch.ones(4, dtype=torch.long), short])])
    mask = torch.tensor([[1] * 10, [0] * 4 + [1] * 6])
    places = (mask.cumsum(1) - 1).clamp(min=0)  # as in generation
    with torch.no_grad():
        found = model(input_ids=rows, attention_mask=mask, position_ids=places).logits
        assert_close(found[0], model(input_ids=IDS[None]).logits[0])
        assert_close(found[1, 4:], model(input_ids=short[None]).logits[0])


@pytest.mark.parametrize("variant", ["released", "registers"])
def test_generation_of_left_padded_rows(variant: str) -> None:
    """transformers gives the positions only to a forward that names them; registers show whether it did."""
    model = make_model(variant)
    short = IDS[:6]
    rows = torch.stack([IDS, torch.cat([torch.ones(4, dtype=torch.long), short])])
    mask = torch.tensor([[1] * 10, [0] * 4 + [1] * 6])
    options = {
        "max_new_tokens": 5,
        "do_sample": False,
        "output_logits": True,
        "return_dict_in_generate": True,
    }
    together = model.generate(input_ids=rows, attention_mask=mask, **options)
    alone = model.generate(input_ids=short[None], attention_mask=mask[1:, 4:], **options)
    for both, one in zip(together.logits, alone.logits, strict=False):
        assert_close(both[1], one[0])


@pytest.mark.parametrize("variant", ["released", "paper", "qk_norm", "registers"])
def test_trees(variant: str) -> None:
    """Packed rows are padded rows, and plain rows; registers, which are keys that no tree has, are read padded."""
    model = make_model(variant)
    plain = make_model(variant)
    reader = TreeReader(model)
    assert reader.packs == (variant != "registers") and reader.context == 64
    with torch.no_grad():
        found = []
        for layout in (reader.layout(TREES), pad(TREES)):
            found.append(reader.log_probabilities(reader.states(layout), layout)[0])
        rows = [(tree.prompt, branch) for tree in TREES for branch in tree.branches]
        wanted = [
            plain(input_ids=torch.tensor([[*prompt, *branch]]))
            .logits[0, len(prompt) - 1 : -1]
            .log_softmax(-1)
            for prompt, branch in rows
        ]
    flat = torch.cat([p[range(len(b)), list(b)] for p, (_, b) in zip(wanted, rows, strict=True)])
    assert flat.std() > 0.5
    assert_close(found[0], flat)
    assert_close(found[1], flat)


@pytest.mark.parametrize("budget", [None, 2 * 4 * 40, 1])
def test_log_probabilities_behind_a_projection(budget: int | None) -> None:
    """Values and gradients, kept and in chunks of rows, are those of the whole softmax."""
    torch.manual_seed(0)
    head = ProjectedHead(nn.Linear(32, 12), nn.Embedding(40, 12))
    hidden = torch.randn(5, 32, requires_grad=True)
    predictor, targets = torch.tensor([0, 2, 2, 4, 1]), torch.tensor([3, 39, 3, 0, 8])
    found, _ = token_log_probabilities(hidden, head, predictor, targets, budget)
    wanted = head(hidden).log_softmax(-1)[predictor, targets]
    assert_close(found, wanted)
    weights = torch.linspace(-1.0, 2.0, 5)
    inputs = [hidden, *head.parameters()]
    assert len(inputs) == 4
    for ours, theirs in zip(
        torch.autograd.grad((weights * found).sum(), inputs),
        torch.autograd.grad((weights * wanted).sum(), inputs),
        strict=True,
    ):
        assert_close(ours, theirs)


def test_embeddings_enter_before_the_first_norm() -> None:
    model = make_model()
    table, projection = model.model.input_embedding["embedding"], model.model.input_proj
    with torch.no_grad():
        vectors = projection(table(IDS[None]))
        assert torch.equal(model.get_input_embeddings()(IDS[None]), vectors)
        wanted = model(input_ids=IDS[None]).logits
        assert torch.equal(model(inputs_embeds=vectors).logits, wanted)
        # The norm takes the scale away, so that image vectors need not have the tokens'.
        torch.testing.assert_close(model(inputs_embeds=10 * vectors).logits, wanted, atol=1e-3, rtol=0)
    with pytest.raises(ValueError, match="exactly one"):
        model(input_ids=IDS[None], inputs_embeds=vectors)


@pytest.mark.parametrize("variant", ["released", "both"])
def test_gradients_with_and_without_checkpointing(variant: str) -> None:
    """Every parameter learns, and recomputed layers give the same; both ways to switch it on."""

    def gradients(model: LswForCausalLM) -> dict[str, Tensor]:
        model(input_ids=IDS[None], labels=IDS[None], use_cache=False).loss.backward()
        return {name: parameter.grad for name, parameter in model.named_parameters()}

    wanted = gradients(make_model(variant).train())
    assert all(gradient is not None and gradient.abs().max() > 0 for name, gradient in wanted.items()
               if not name.endswith("proj_k.bias") or variant == "both")  # fmt: skip
    theirs, ours = make_model(variant).train(), make_model(variant)
    theirs.gradient_checkpointing_enable()
    TreeReader(ours).prepare(
        TrainingSettings(steps=1, batch=1, learning_rate=1.0, gradient_checkpointing=True)
    )
    for found in (gradients(theirs), gradients(ours)):
        for name, gradient in wanted.items():
            torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-5, msg=name)


def test_the_loss_falls() -> None:
    torch.manual_seed(0)
    model = LswForCausalLM(LswConfig(**TINY | PAPER_150M)).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = model(input_ids=IDS[None], labels=IDS[None]).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(math.log(40), abs=0.3) and losses[-1] < 0.1


def test_generation_is_greedy_decoding() -> None:
    model = make_model()
    ids = IDS[None, :4]
    found = model.generate(ids, max_new_tokens=6, min_new_tokens=6, do_sample=False)
    with torch.no_grad():
        for _ in range(6):
            scores = model(input_ids=ids).logits[:, -1]
            scores[:, model.config.eos_token_id] = -math.inf
            ids = torch.cat([ids, scores.argmax(-1, keepdim=True)], dim=1)
    assert torch.equal(found, ids)


def test_attention_weights_of_the_eager_implementation() -> None:
    """For attention maps: every layer's, registers first; what follows a token has none."""
    model = make_model("registers")
    model.set_attn_implementation("eager")
    with torch.no_grad():
        embeddings = model.get_input_embeddings()(IDS[None])
        found = model.model(inputs_embeds=embeddings, output_attentions=True, use_cache=False).attentions
    assert [weights.shape for weights in found] == [(1, 4, 10, 3 + 10)] * 2
    for weights in found:
        assert_close(weights.sum(-1), torch.ones(1, 4, 10))
        assert weights[..., 3:].triu(1).abs().max() == 0 and weights[..., :3].min() > 0


def test_bfloat16_is_packed_too() -> None:
    assert TreeReader(make_model().bfloat16()).packs

"""Reward heads and the model around them."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from preftune.data.chat import encode_completion, encode_prompt
from preftune.errors import PreftuneError
from preftune.files import read_json, write_json
from preftune.models.policy import load_policy, trainable_parameters
from preftune.preference.heads import PreferenceModel
from preftune.preference.poolers import POOLERS, build_pooler
from preftune.preference.reward_head import HeadConfig, RewardHead, load_head
from preftune.settings.training import LoraSettings
from preftune.training.trees import Tree
from tests.unit.models.architectures import save_base
from tests.unit.preference.helpers import make_model, make_rows, new_policy

MARKER = 2


@torch.no_grad()
def outputs(model: PreferenceModel, rows: list[Tree]):
    return model(rows)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("identity", 8),
        ("bert", 8 + 72),
        ("t5", 8 + 72),
        ("swiglu_bert", 8 + 9 * 40 + 21 * 8),
        ("swiglu_t5", 8 + 9 * 40 + 21 * 8),
    ],
)
def test_pooler_parameter_counts(name: str, count: int) -> None:
    """Width d = 8, m = 20: identity d; affine d + d^2 + d; SwiGLU d + (d + 1) 2m + (m + 1) d."""
    head = RewardHead(HeadConfig(name, 8, 20, MARKER))
    assert sum(parameter.numel() for parameter in head.parameters()) == count


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("identity", 1_536),
        ("bert", 2_362_368),
        ("t5", 2_362_368),
        ("swiglu_bert", 18_885_632),
        ("swiglu_t5", 18_885_632),
    ],
)
def test_sizes_on_the_released_model(name: str, count: int) -> None:
    """d = 1536, m = 4096, as for LoveLace: 1536 * 8192 + 8192 + 4096 * 1536 + 1536 + 1536 is the released head's."""
    with torch.device("meta"):
        head = RewardHead(HeadConfig(name, 1536, 4096, MARKER))
    assert sum(parameter.numel() for parameter in head.parameters()) == count


def pool(name: str, state: np.ndarray, weights: dict[str, np.ndarray]) -> np.ndarray:
    """The formulas in numpy: one state [width], weights by the module's names."""
    if name == "identity":
        return state
    if name in ("bert", "t5"):
        return np.tanh(weights["dense.weight"] @ state + weights["dense.bias"])
    value, gate = np.split(weights["expand.weight"] @ state + weights["expand.bias"], 2)
    swiglu = value * gate / (1 + np.exp(-gate))
    return np.tanh(weights["contract.weight"] @ swiglu + weights["contract.bias"])


def spread_pooler(name: str, dropout: float = 0.0) -> nn.Module:
    """Width 8, m = 20, with weights so large that each non-linearity shows."""
    torch.manual_seed(0)
    pooler = build_pooler(name, 8, 20, dropout)
    with torch.no_grad():
        for parameter in pooler.parameters():
            parameter.normal_(std=0.7)
    return pooler


def weights_of(pooler: nn.Module) -> dict[str, np.ndarray]:
    return {name: value.detach().double().numpy() for name, value in pooler.named_parameters()}


@pytest.mark.parametrize("name", POOLERS)
def test_poolers_compute_their_formulas(name: str) -> None:
    pooler = spread_pooler(name)
    hidden = torch.randn(3, 8, generator=torch.Generator().manual_seed(1))
    expected = [pool(name, state, weights_of(pooler)) for state in hidden.double().numpy()]
    np.testing.assert_allclose(pooler(hidden).detach().numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("name", POOLERS)
def test_where_dropout_is(name: str) -> None:
    """After the pooler in every form, each element 0 or twice its value; before it too in the t5 forms."""
    pooler = spread_pooler(name, dropout=0.5).train()
    hidden = torch.randn(8, generator=torch.Generator().manual_seed(1))
    weights, state = weights_of(pooler), hidden.double().numpy()
    inputs = [np.array(bits) * 2 * state for bits in itertools.product((0, 1), repeat=8)]
    values = [pool(name, state, weights)]
    if name.endswith("t5"):
        values = [pool(name, one, weights) for one in inputs]
    found = pooler(hidden.expand(64, 8)).detach().numpy()
    seen = set()
    for row in found:
        matches = [
            place
            for place, value in enumerate(values)
            if np.allclose(row[row != 0], 2 * value[row != 0], atol=1e-5)
        ]
        assert matches
        seen.update(matches if (row != 0).sum() > 2 else [])
    assert 0.3 < (found != 0).mean() < 0.7
    assert (len(seen) > 1) == name.endswith("t5")


@pytest.mark.parametrize("name", POOLERS)
def test_dropout_only_while_training(name: str) -> None:
    torch.manual_seed(0)
    pooler = build_pooler(name, 8, 20, dropout=0.5)
    hidden = torch.ones(4, 8)
    assert not torch.equal(pooler.train()(hidden), pooler(hidden))
    assert torch.equal(pooler.eval()(hidden), pooler(hidden))


def test_initialisation() -> None:
    torch.manual_seed(0)
    head = RewardHead(HeadConfig("swiglu_bert", 64, 256, MARKER))
    assert head.pooler.expand.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not head.pooler.expand.bias.any() and not head.pooler.contract.bias.any()
    assert isinstance(head.heads["reward"], nn.Linear) and head.heads["reward"].bias is None


def test_log_probabilities_equal_the_plain_model(base: Path) -> None:
    """Against log-softmax of the whole model's logits, gathered token by token."""
    model = make_model(base, head=False)
    rows = make_rows(model.tokenizer, 5)
    found = iter(outputs(model, rows).token_log_probabilities.tolist())
    for row in rows:
        ids = torch.tensor([[*row.prompt, *row.branches[0]]])
        with torch.no_grad():
            table = model.causal_lm(ids).logits.log_softmax(-1)[0]
        expected = [table[t - 1, ids[0, t]].item() for t in range(len(row.prompt), row.tokens)]
        assert [next(found) for _ in expected] == pytest.approx(expected, abs=1e-5)


def test_head_leaves_the_output_distribution(base: Path) -> None:
    """The claim dph-lm-unchanged: logits with and without a head are the same bits."""
    plain = make_model(base, head=False).eval()
    rows = make_rows(plain.tokenizer, 4)
    before = outputs(plain, rows).token_log_probabilities
    model = PreferenceModel.with_new_head(plain.language_model, plain.tokenizer).eval()
    after = outputs(model, rows)
    assert after.rewards and torch.equal(after.token_log_probabilities, before)


def test_batch_shape_and_order_change_nothing(base: Path) -> None:
    """Tolerance 1e-5: float32 sums in another order."""
    model = make_model(base)
    rows = make_rows(model.tokenizer, 6)
    together, backwards = outputs(model, rows), outputs(model, rows[::-1])
    sums, rewards = together.log_probabilities, together.rewards["reward"]
    torch.testing.assert_close(backwards.log_probabilities.flip(0), sums, atol=1e-5, rtol=0)
    torch.testing.assert_close(backwards.rewards["reward"].flip(0), rewards, atol=1e-5, rtol=0)
    assert rewards.std() > 1e-3
    for i, row in enumerate(rows):
        alone = outputs(model, [row])
        assert alone.log_probabilities.item() == pytest.approx(sums[i].item(), abs=1e-5)
        assert alone.rewards["reward"].item() == pytest.approx(rewards[i].item(), abs=1e-5)


@pytest.mark.parametrize("packs", [True, False])
def test_pooling_position_is_the_last_marker_of_the_own_branch(base: Path, packs: bool) -> None:
    """Branch 0 ends with another token after its last marker; padding and prompt hold markers too."""
    tree = Tree("x", [1, 7, MARKER], ([MARKER, 8, MARKER, 9], [6, MARKER]))
    model = make_model(base, pooler="identity")
    model.reader.packs = packs
    with torch.no_grad():
        rewards = model([tree]).rewards["reward"]
        states = [
            model.causal_lm(torch.tensor([[*tree.prompt, *branch]]), output_hidden_states=True).hidden_states[
                -1
            ][0]
            for branch in tree.branches
        ]
    expected = model.head.heads["reward"](torch.stack([states[0][5], states[1][4]])).squeeze(1)
    torch.testing.assert_close(rewards, expected, atol=1e-6, rtol=0)


def test_a_branch_without_marker_is_refused(base: Path) -> None:
    model = make_model(base)
    with pytest.raises(PreftuneError, match="example b: a branch holds no"):
        model([Tree("a", [1, 7], ([MARKER],)), Tree("b", [1, MARKER], ([7],))])


def test_rewards_of_conversations(base: Path) -> None:
    model = make_model(base)
    ask = {"role": "user", "content": "Is the cup red?"}
    conversations = [
        [ask, {"role": "assistant", "content": text}] for text in ("yes", "no the ball is blue", "no")
    ]
    rewards = model.rewards(conversations)
    for conversation, reward in zip(conversations, rewards, strict=True):
        assert model.rewards([conversation]).item() == pytest.approx(reward.item(), abs=1e-5)
    rows = make_rows(model.tokenizer, 1)
    assert model._encode(conversations[0], "0").branches[0][-1] == rows[0].branches[0][-1] == MARKER
    with pytest.raises(PreftuneError, match="assistant"):
        model.rewards([[ask]])
    with pytest.raises(PreftuneError, match="unknown reward head 'helpful'; this model's heads are: reward"):
        model.rewards(conversations, name="helpful")


def test_named_heads_share_one_pooler(base: Path, tmp_path: Path) -> None:
    """Both rewards from one pooled state; saved, loaded and selected by name."""
    plain = make_model(base, head=False)
    names = ("helpful", "honest")
    model = PreferenceModel.with_new_head(plain.language_model, plain.tokenizer, names=names).eval()
    assert sum("pooler" not in name for name, _ in model.head.named_parameters()) == 2
    output = outputs(model, make_rows(model.tokenizer, 3))
    rewards = output.rewards
    assert set(rewards) == set(names) and rewards["honest"].shape == (3,)
    pooled = model.head.pooler(output.states)
    for name in names:
        expected = pooled @ model.head.heads[name].weight[0]
        torch.testing.assert_close(rewards[name], expected, atol=1e-6, rtol=1e-5)
    model.save_pretrained(tmp_path)
    loaded = PreferenceModel.from_pretrained(tmp_path)
    assert loaded.head.config == model.head.config and loaded.head.config.names == names
    ask = [{"role": "user", "content": "Is the cup red?"}, {"role": "assistant", "content": "yes"}]
    found = {name: loaded.rewards([ask], name) for name in names}
    assert all(torch.equal(found[name], model.rewards([ask], name)) for name in names)
    assert found["helpful"] != found["honest"]
    for unknown in (None, "harmless"):
        sentence = rf"unknown reward head '{unknown}'; this model's heads are: helpful, honest"
        with pytest.raises(PreftuneError, match=sentence):
            loaded.rewards([ask], unknown)


def test_a_model_without_heads_has_no_rewards(base: Path) -> None:
    ask = [{"role": "user", "content": "Is the cup red?"}, {"role": "assistant", "content": "yes"}]
    with pytest.raises(PreftuneError, match="unknown reward head 'None'; this model's heads are: none"):
        make_model(base, head=False).rewards([ask])


@pytest.mark.parametrize("names", [(), ("honest", "honest")])
def test_heads_without_or_with_equal_names_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(PreftuneError, match="name each head once"):
        RewardHead(HeadConfig("identity", 8, 20, MARKER, names=names))


CONVERSATIONS = [
    [{"role": "user", "content": "Is the cup red?"}, {"role": "assistant", "content": "yes"}],
    [
        {"role": "system", "content": "Answer yes or no."},
        {"role": "user", "content": "Is the dog small?"},
        {"role": "assistant", "content": "no"},
        {"role": "user", "content": "Where is the blue ball?"},
        {"role": "assistant", "content": "under the chair in the kitchen"},
    ],
]


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt2", "opt", "gpt_neox", "mistral", "bloom"])
def test_a_head_on_any_causal_model(kind: str, tmp_path: Path) -> None:
    """Against the plain model on a right-padded batch whose padding is `<|im_end|>`: the head reads what the output
    embedding sees at the last `<|im_end|>` that the attention mask keeps, after several earlier ones."""
    plain = save_base(kind, tmp_path)
    language_model, tokenizer = load_policy(tmp_path)
    torch.manual_seed(1)
    model = PreferenceModel.with_new_head(language_model, tokenizer, pooler="identity").eval()
    assert model.reader.packs == (kind not in ("mistral", "bloom"))
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == MARKER
    # encoded by hand: what is asked, the answer, its <|im_end|> and the newline after it
    rows = [
        [*encode_prompt(tokenizer, messages[:-1]), *encode_completion(tokenizer, messages[-1]["content"])]
        + tokenizer.encode("\n")
        for messages in CONVERSATIONS
    ]
    tokenizer.padding_side = "right"
    batch = tokenizer.pad({"input_ids": rows}, return_tensors="pt")
    assert (batch["input_ids"][0, len(rows[0]) :] == MARKER).all() and len(rows[0]) < len(rows[1])
    seen: list[torch.Tensor] = []
    plain.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        plain(**batch)
        kept = (batch["input_ids"] == MARKER) & (batch["attention_mask"] == 1)
        places = [row.nonzero()[-1].item() for row in kept]
        assert places == [len(row) - 2 for row in rows] and kept.sum(dim=1).tolist() == [2, 5]
        states = torch.stack([seen[0][row, place] for row, place in enumerate(places)])
        expected = model.head(states)["reward"]
    found = model.rewards(CONVERSATIONS)
    assert (expected - expected.flip(0)).abs().min() > 1e-3
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=2)])
def test_save_and_load(base: Path, tmp_path: Path, lora: LoraSettings | None) -> None:
    policy, tokenizer = new_policy(base, lora)
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if lora is None or "lora_B" in name:
                parameter.add_(0.05 * torch.randn_like(parameter))
    model = PreferenceModel.with_new_head(policy, tokenizer, pooler="bert").eval()
    rows = make_rows(tokenizer, 3)
    expected = outputs(model, rows)
    model.save_pretrained(tmp_path)
    loaded = PreferenceModel.from_pretrained(tmp_path, base=base)
    assert not any(parameter.requires_grad for parameter in loaded.language_model.parameters())
    found = outputs(loaded, rows)
    assert torch.equal(found.token_log_probabilities, expected.token_log_probabilities)
    assert torch.equal(found.rewards["reward"], expected.rewards["reward"])
    head = read_json(tmp_path / "head.json")
    assert (head["pooler"], head["width"], head["names"], head["marker_id"]) == (
        "bert",
        32,
        ["reward"],
        MARKER,
    )


@pytest.mark.parametrize("kind", ["whole", "adapter"])
def test_one_call_loads_any_checkpoint(base: Path, tmp_path: Path, kind: str) -> None:
    """The folder alone: an adapter knows its base, the head lies beside either, and rewards come out as they were."""
    policy, tokenizer = new_policy(base, LoraSettings(rank=2) if kind == "adapter" else None)
    with torch.no_grad():
        for parameter in trainable_parameters(policy):
            parameter.add_(0.1 * torch.randn_like(parameter))
    model = PreferenceModel.with_new_head(policy, tokenizer).eval()
    model.save_pretrained(tmp_path)
    loaded = PreferenceModel.from_pretrained(tmp_path)
    assert not loaded.training and (loaded.causal_lm is loaded.language_model) == (kind == "whole")
    assert torch.equal(loaded.rewards(CONVERSATIONS), model.rewards(CONVERSATIONS))


def test_adapter_configuration_has_one_byte_sequence(base: Path, tmp_path: Path) -> None:
    targets = ("v_proj", "q_proj", "o_proj", "k_proj")
    policy, tokenizer = new_policy(base, LoraSettings(targets=targets))
    PreferenceModel(policy, tokenizer).save_pretrained(tmp_path)
    assert read_json(tmp_path / "adapter_config.json")["target_modules"] == sorted(targets)


def test_adapter_initialisation_follows_the_seed(base: Path) -> None:
    weights = [dict(new_policy(base, LoraSettings(), seed)[0].named_parameters()) for seed in (1, 1, 2)]
    name = next(name for name in weights[0] if "lora_A" in name)
    assert torch.equal(weights[0][name], weights[1][name])
    assert not torch.equal(weights[0][name], weights[2][name])


def test_damaged_or_foreign_heads(base: Path, tmp_path: Path) -> None:
    model = make_model(base)
    model.save_pretrained(tmp_path)
    fields = read_json(tmp_path / "head.json")
    write_json(tmp_path / "head.json", fields | {"width": 64})
    with pytest.raises(PreftuneError, match="does not fit"):
        load_head(tmp_path)
    write_json(tmp_path / "head.json", fields | {"pooler": "mean"})
    with pytest.raises(PreftuneError, match="unknown pooler 'mean'"):
        load_head(tmp_path)
    write_json(tmp_path / "head.json", {"pooler": "bert"})
    with pytest.raises(PreftuneError, match="does not describe a reward head"):
        load_head(tmp_path)
    write_json(tmp_path / "head.json", fields)
    (tmp_path / "head.safetensors").unlink()
    with pytest.raises(PreftuneError, match=r"head\.safetensors is missing"):
        load_head(tmp_path)


def test_a_head_that_reads_at_another_tokenizers_marker_is_refused(base: Path, tmp_path: Path) -> None:
    """A folder whose tokenizer was exchanged: it would read at a token that no branch holds, or at a wrong one."""
    model = make_model(base)
    model.save_pretrained(tmp_path)
    swapped = Path(tmp_path, "tokenizer.json").read_text()
    for old, new in (
        ("<|im_end|>", "<|tmp|>"),
        ("<|endoftext|>", "<|im_end|>"),
        ("<|tmp|>", "<|endoftext|>"),
    ):
        swapped = swapped.replace(old, new)
    Path(tmp_path, "tokenizer.json").write_text(swapped)
    sentence = r"reads at token 2 but this tokenizer's <\|im_end\|> is 0; load the head with the tokenizer"
    with pytest.raises(PreftuneError, match=sentence):
        PreferenceModel.from_pretrained(tmp_path)


def test_head_of_another_width_is_refused(base: Path) -> None:
    model = make_model(base, head=False)
    with pytest.raises(PreftuneError, match="saved for hidden size 48 but the language model's is 32"):
        PreferenceModel(
            model.language_model, model.tokenizer, RewardHead(HeadConfig("identity", 48, 96, MARKER))
        )


def test_adapter_errors(base: Path, tmp_path: Path) -> None:
    policy, tokenizer = new_policy(base, LoraSettings())
    PreferenceModel(policy, tokenizer).save_pretrained(tmp_path)
    config = read_json(tmp_path / "adapter_config.json")
    assert config["base_model_name_or_path"] == str(base)
    write_json(tmp_path / "adapter_config.json", config | {"base_model_name_or_path": "/gone/base"})
    with pytest.raises(PreftuneError, match=r"without its base model \(/gone/base is no folder\); give the"):
        PreferenceModel.from_pretrained(tmp_path)
    assert PreferenceModel.from_pretrained(tmp_path, base=base).causal_lm.config.hidden_size == 32
    with pytest.raises(PreftuneError, match=r"lora\.targets"):
        new_policy(base, LoraSettings(targets=("query",)))

"""Reward heads and the model around them."""

from pathlib import Path

import pytest
import torch
from torch import nn

from preftune.errors import PreftuneError
from preftune.files import read_json, write_json
from preftune.preference.heads import PreferenceModel
from preftune.preference.poolers import POOLERS, build_pooler
from preftune.preference.reward_head import HeadConfig, RewardHead, load_head
from preftune.settings.training import LoraSettings
from preftune.training.trees import Tree
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


def test_released_swiglu_size() -> None:
    """d = 1536, m = 4096: 1536 * 8192 + 8192 + 4096 * 1536 + 1536 + 1536 = 18,885,632, the released head."""
    with torch.device("meta"):
        head = RewardHead(HeadConfig("swiglu_bert", 1536, 4096, MARKER))
    assert sum(parameter.numel() for parameter in head.parameters()) == 18_885_632


def test_poolers_compute_their_formulas() -> None:
    hidden = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(build_pooler("identity", 8, 20)(hidden), hidden)
    bert = build_pooler("bert", 8, 20)
    torch.testing.assert_close(bert(hidden), torch.tanh(hidden @ bert.dense.weight.T + bert.dense.bias))
    swiglu = build_pooler("swiglu_t5", 8, 20)
    inner = hidden @ swiglu.expand.weight.T + swiglu.expand.bias
    value, gate = inner[:, :20], inner[:, 20:]
    expected = torch.tanh(
        (value * gate * torch.sigmoid(gate)) @ swiglu.contract.weight.T + swiglu.contract.bias
    )
    torch.testing.assert_close(swiglu(hidden), expected)


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


def test_named_heads_share_one_pooler(base: Path) -> None:
    plain = make_model(base, head=False)
    model = PreferenceModel.with_new_head(plain.language_model, plain.tokenizer, names=("helpful", "honest"))
    rewards = outputs(model.eval(), make_rows(model.tokenizer, 3)).rewards
    assert set(rewards) == {"helpful", "honest"} and rewards["honest"].shape == (3,)
    with pytest.raises(PreftuneError, match="unknown reward head 'None'"):
        model._head_name(None)


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


def test_head_of_another_width_is_refused(base: Path) -> None:
    model = make_model(base, head=False)
    with pytest.raises(PreftuneError, match="saved for hidden size 48 but the language model's is 32"):
        PreferenceModel(
            model.language_model, model.tokenizer, RewardHead(HeadConfig("identity", 48, 96, MARKER))
        )


def test_adapter_errors(base: Path, tmp_path: Path) -> None:
    policy, tokenizer = new_policy(base, LoraSettings())
    PreferenceModel(policy, tokenizer).save_pretrained(tmp_path)
    with pytest.raises(PreftuneError, match="without its base model"):
        PreferenceModel.from_pretrained(tmp_path)
    with pytest.raises(PreftuneError, match=r"lora\.targets"):
        new_policy(base, LoraSettings(targets=("query",)))

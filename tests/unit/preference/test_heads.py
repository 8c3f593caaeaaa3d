"""Reward heads and the model around them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from preftune.data.chat import encode_completion, encode_prompt
from preftune.errors import PreftuneError
from preftune.models.policy import load_policy
from preftune.preference.heads import PreferenceModel
from preftune.preference.scoring import score_trees
from preftune.training.trees import Tree
from tests.unit.models.architectures import save_base
from tests.unit.preference.helpers import CONVERSATIONS, make_model, make_pairs, make_rows

MARKER = 2


@torch.no_grad()
def outputs(model: PreferenceModel, rows: list[Tree]):
    return model(rows)


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


def test_what_is_not_asked_for_is_not_computed(base: Path) -> None:
    """States without a head, log-probabilities left out; states need the marker whether or not a head reads them."""
    model = make_model(base, head=False)
    rows = make_rows(model.tokenizer, 3)
    plain = outputs(model, rows)
    assert plain.states is None and plain.greedy is None and not plain.rewards
    with torch.no_grad():
        output = model(rows, log_probabilities=False, states=True)
    assert torch.equal(output.states, output.hidden[output.layout.markers]) and output.states.shape == (3, 32)
    with pytest.raises(PreftuneError, match="not asked for: pass log_probabilities=True"):
        _ = output.log_probabilities
    unmarked = [Tree("b", [1, MARKER], ([7],))]
    assert outputs(model, unmarked).log_probabilities.shape == (1,)
    with pytest.raises(PreftuneError, match="example b: a branch holds no"):
        model(unmarked, states=True)


@pytest.mark.parametrize("budget", [1, 10_000])
def test_scores_of_branches(base: Path, budget: int) -> None:
    """In order whatever shares a pass: sums, the last token's own share, states; NaN where nothing was asked for."""
    model = make_model(base)
    trees = make_pairs(model.tokenizer, 5)
    scores = score_trees(model, trees, tokens_per_pass=budget, states=True)
    output = outputs(model, trees)
    sums, last = output.log_probabilities, output.token_log_probabilities[output.layout.last_tokens]
    np.testing.assert_allclose(scores.log_probabilities, sums.numpy(), atol=1e-5)
    np.testing.assert_allclose(scores.last_log_probabilities, last.numpy(), atol=1e-5)
    np.testing.assert_allclose(scores.rewards["reward"], output.rewards["reward"].numpy(), atol=1e-5)
    torch.testing.assert_close(scores.states, output.states, atol=1e-5, rtol=0)
    assert scores.tokens.tolist() == [len(branch) for tree in trees for branch in tree.branches]
    fewer = score_trees(model, trees, tokens_per_pass=budget, log_probabilities=False)
    assert np.isnan(fewer.log_probabilities).all() and np.isnan(fewer.last_log_probabilities).all()
    assert fewer.states is None and not fewer.greedy.any()
    np.testing.assert_array_equal(fewer.rewards["reward"], scores.rewards["reward"])


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

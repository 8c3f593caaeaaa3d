"""Reference log-probabilities: what they are keyed by, and that nothing else changes them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from preftune.errors import PreftuneError
from preftune.files import read_json
from preftune.preference.data import hash_trees
from preftune.preference.heads import PreferenceModel, head_shape
from preftune.preference.reference import (
    ReferenceKey,
    read_reference,
    read_states,
    reference_table,
    write_reference,
)
from preftune.training.trees import Tree
from tests.tiny import tiny_language_model
from tests.unit.preference.helpers import make_model, make_pairs

KEY = ReferenceKey("1" * 64, "2" * 64, "3" * 64, "float32")
HEAD = {"width": 3, "inner_width": 12, "marker_id": 2}
TREES = [Tree("a", [5, 6, 7], ([8, 9], [10])), Tree("b", [5], ([8], [9, 10]))]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PreferenceModel:
    """With dropout of one half in its attention, where it is in training mode."""
    folder = tmp_path_factory.mktemp("base")
    tiny_language_model(folder)
    model = make_model(folder, head=False)
    for layer in model.causal_lm.model.layers:
        layer.self_attn.attention_dropout = 0.5
    return model


@pytest.fixture(scope="module")
def pairs(model: PreferenceModel) -> list[Tree]:
    return make_pairs(model.tokenizer, 5)


@pytest.mark.parametrize("part", ["base", "model", "data", "dtype"])
def test_digest_depends_on_every_part(part: str) -> None:
    assert KEY.digest == replace(KEY).digest
    assert KEY.digest != replace(KEY, **{part: "other"}).digest


def test_digest_depends_on_which_part_it_is() -> None:
    assert KEY.digest != replace(KEY, base=KEY.model, model=KEY.base).digest


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A folder with the table of KEY."""
    rows = {"example_id": ["a", "b"], "chosen_logp": [-1.5, -2.25], "rejected_logp": [-3.0, -0.5]}
    table = pd.DataFrame(rows | {"chosen_tokens": [2, 1], "rejected_tokens": [1, 2]})
    write_reference(table, None, KEY, HEAD, tmp_path)
    return tmp_path


def test_table_is_read_back(stored: Path) -> None:
    """In order, chosen first, fp32; the key lies beside it. Another precision of the policy reads it too."""
    for key in (KEY, replace(KEY, dtype="bfloat16")):
        found = read_reference(stored, key)
        assert found.dtype == torch.float32 and found.tolist() == [[-1.5, -3.0], [-2.25, -0.5]]
    assert read_json(stored / "reference.json")["digest"] == KEY.digest


@pytest.mark.parametrize(
    ("part", "name"), [("base", "base model"), ("model", "SFT checkpoint"), ("data", "preference mix")]
)
def test_another_table_is_refused(stored: Path, part: str, name: str) -> None:
    """The sentence names what differs, and the remedy."""
    with pytest.raises(
        PreftuneError, match=rf"of another {name} \({part} .*, not ffff.*run compute_reference"
    ):
        read_reference(stored, replace(KEY, **{part: "f" * 64}))


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PreftuneError, match=r"logps\.parquet does not exist; run compute_reference"):
        read_reference(tmp_path, KEY)


@pytest.fixture
def with_states(tmp_path: Path) -> Path:
    """As `stored`, with states [2, 2, 3]."""
    rows = {"example_id": ["a", "b"], "chosen_logp": [-1.5, -2.25], "rejected_logp": [-3.0, -0.5]}
    table = pd.DataFrame(rows | {"chosen_tokens": [2, 1], "rejected_tokens": [1, 5]})
    write_reference(table, torch.arange(12.0).view(2, 2, 3), KEY, HEAD, tmp_path)
    return tmp_path


def test_states_are_read_back(with_states: Path) -> None:
    """With names, tokens of both answers, and the shape of a head; whatever mix they are of, they bring it along."""
    pairs, head = read_states(with_states, KEY.model)
    assert (pairs.names, pairs.tokens, head) == (("a", "b"), (3, 6), HEAD)
    assert torch.equal(pairs.states, torch.arange(12.0).view(2, 2, 3))
    assert read_reference(with_states, KEY).tolist() == [[-1.5, -3.0], [-2.25, -0.5]]


def test_states_of_another_model_or_none_are_refused(with_states: Path, tmp_path: Path) -> None:
    with pytest.raises(
        PreftuneError, match=r"of another SFT checkpoint \(model 2222.*, not ffff.*run compute_reference"
    ):
        read_states(with_states, "f" * 64)
    (with_states / "states.safetensors").unlink()
    with pytest.raises(
        PreftuneError, match=r"states\.safetensors does not exist; run compute_reference with states: true"
    ):
        read_states(with_states, KEY.model)


CHANGES: dict[str, Callable[[Tree, Tree], Sequence[Tree]]] = {
    "name": lambda a, b: [replace(a, name="c"), b],
    "id of a prompt": lambda a, b: [replace(a, prompt=[5, 6, 8]), b],
    "id of a branch": lambda a, b: [replace(a, branches=([8, 9], [11])), b],
    "large id": lambda a, b: [replace(a, branches=([8, 9], [10 + (1 << 16)])), b],
    "order of the trees": lambda a, b: [b, a],
    "order of the branches": lambda a, b: [replace(a, branches=a.branches[::-1]), b],
    "token from prompt to branch": lambda a, b: [replace(a, prompt=[5, 6], branches=([7, 8, 9], [10])), b],
    "token from branch to branch": lambda a, b: [replace(a, branches=([8], [9, 10])), b],
    "a tree less": lambda a, b: [a],
    "a tree more": lambda a, b: [a, b, b],
    "a branch less": lambda a, b: [replace(a, branches=a.branches[:1]), b],
}


@pytest.mark.parametrize("change", CHANGES)
def test_hash_depends_on_names_ids_and_order(change: str) -> None:
    assert hash_trees(CHANGES[change](*TREES)) != hash_trees(TREES)


def test_hash_does_not_depend_on_the_type_of_sequence() -> None:
    """Rows of a mix may come as lists, tuples or arrays."""
    trees = [
        Tree(tree.name, torch.tensor(tree.prompt).numpy(), tuple(map(tuple, tree.branches))) for tree in TREES
    ]
    assert hash_trees(iter(trees)) == hash_trees(TREES)


def test_hash_is_the_same_in_every_process() -> None:
    """The value that lies beside tables on users' disks: a change makes all of them invalid."""
    assert hash_trees(TREES) == "868973c8f8638ef8ce112a7ed6f2b3e5faf78b2ac2f436e3aba1a8c96e85554d"


@pytest.mark.parametrize("training", [True, False])
def test_computed_in_eval_mode(model: PreferenceModel, pairs: list[Tree], training: bool) -> None:
    """Twice the same bits whatever the mode, which is kept; the mode matters to a pass that is not the reference's."""
    expected, _ = reference_table(model.eval(), pairs)
    model.train(training)
    with torch.no_grad():
        plain = model(pairs).log_probabilities.double().numpy()
    for _ in range(2):
        pd.testing.assert_frame_equal(reference_table(model, pairs)[0], expected, check_exact=True)
    assert all(module.training is training for module in model.modules())
    assert bool(abs(plain[::2] - expected["chosen_logp"]).max() > 1e-3) == training


@pytest.mark.parametrize("budget", [1, 60, 10_000])
def test_independent_of_the_passes(model: PreferenceModel, pairs: list[Tree], budget: int) -> None:
    """Another budget, and other pairs in the same pass."""
    expected, states = reference_table(model, pairs, states=True)
    found, others = reference_table(model, pairs, tokens_per_pass=budget, states=True)
    pd.testing.assert_frame_equal(found, expected, check_exact=False, atol=1e-5, rtol=0)
    torch.testing.assert_close(others, states, atol=1e-5, rtol=0)
    backwards, others = reference_table(model, pairs[::-1], tokens_per_pass=budget, states=True)
    backwards = backwards[::-1].reset_index(drop=True)
    torch.testing.assert_close(others.flip(0), states, atol=1e-5, rtol=0)
    pd.testing.assert_frame_equal(backwards, expected, check_exact=False, atol=1e-5, rtol=0)


def test_columns(model: PreferenceModel, pairs: list[Tree]) -> None:
    """Chosen answers in the chosen columns and first among the states: as the plain model reads each branch alone."""
    table, states = reference_table(model.eval(), pairs, states=True)
    assert reference_table(model, pairs)[1] is None and states.shape == (5, 2, 32)
    assert table["example_id"].tolist() == [pair.name for pair in pairs]
    for place, side in enumerate(("chosen", "rejected")):
        branches = [pair.branches[place] for pair in pairs]
        assert table[f"{side}_tokens"].tolist() == [len(branch) for branch in branches]
        found = zip(table[f"{side}_logp"], states[:, place], strict=True)
        for pair, branch, (logp, state) in zip(pairs, branches, found, strict=True):
            ids = torch.tensor([[*pair.prompt, *branch]])
            with torch.no_grad():
                plain = model.causal_lm(ids, output_hidden_states=True)
            scores = plain.logits[0, :-1].log_softmax(-1)
            values = scores.gather(1, ids[0, 1:, None])[-len(branch) :]
            assert logp == pytest.approx(values.sum().item(), abs=1e-4)
            torch.testing.assert_close(state, plain.hidden_states[-1][0, -1], atol=1e-5, rtol=0)


def test_reference_is_deterministic_and_independent_of_the_batch(base: Path) -> None:
    model = make_model(base, head=False)
    pairs = make_pairs(model.tokenizer, 7)
    first, _ = reference_table(model.train(), pairs)
    assert model.training and first.equals(reference_table(model, pairs)[0])
    alone, _ = reference_table(model, pairs, tokens_per_pass=1)
    assert (
        first[["chosen_logp", "rejected_logp"]] - alone[["chosen_logp", "rejected_logp"]]
    ).abs().to_numpy().max() < 1e-5
    assert first["chosen_tokens"].tolist() == [len(pair.branches[0]) for pair in pairs]
    assert first["example_id"].tolist() == [pair.name for pair in pairs]


def test_reference_counts_the_marker(base: Path) -> None:
    """The sum over `yes ... <|im_end|>` is that of the whole row's log-softmax, the marker included."""
    model = make_model(base, head=False)
    (pair,) = make_pairs(model.tokenizer, 1)
    ids = torch.tensor([[*pair.prompt, *pair.branches[0]]])
    with torch.no_grad():
        table = model.causal_lm(ids).logits.log_softmax(-1)[0]
    expected = sum(table[t - 1, ids[0, t]].item() for t in range(len(pair.prompt), ids.shape[1]))
    assert reference_table(model, [pair])[0]["chosen_logp"][0] == pytest.approx(expected, abs=1e-4)


def test_reference_is_keyed_by_content(base: Path, tmp_path: Path) -> None:
    """Another base, checkpoint or token id is named; another precision is not another reference."""
    model = make_model(base, head=False)
    pairs = make_pairs(model.tokenizer, 4)
    key = ReferenceKey("base", "model", hash_trees(pairs), "float32")
    with pytest.raises(PreftuneError, match="run compute_reference"):
        read_reference(tmp_path, key)
    table, _ = reference_table(model, pairs)
    write_reference(table, None, key, head_shape(model.causal_lm.config, model.tokenizer), tmp_path)
    assert read_reference(tmp_path, key).shape == (4, 2)
    assert read_reference(tmp_path, replace(key, dtype="bfloat16")).shape == (4, 2)
    assert len({key.digest, replace(key, dtype="bfloat16").digest}) == 2
    changed = Tree(pairs[0].name, pairs[0].prompt, (pairs[0].branches[0], [5, 2]))
    for part, value, name in (
        ("base", "b", "base model"),
        ("model", "m", "SFT checkpoint"),
        ("data", hash_trees(pairs[::-1]), "preference mix"),
        ("data", hash_trees([changed, *pairs[1:]]), "preference mix"),
    ):
        with pytest.raises(PreftuneError, match=f"of another {name}"):
            read_reference(tmp_path, replace(key, **{part: value}))

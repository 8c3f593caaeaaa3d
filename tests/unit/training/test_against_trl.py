"""Losses and gradients of the engine are those of TRL's trainers on the same ids, away from policy == reference."""

import copy
from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

pytest.importorskip("trl")

from preftune.bench import training
from preftune.bench.inputs import tiny_tokenizer
from preftune.bench.training import OurDpo, OurSft, TheirDpo, TheirSft, dpo_settings
from preftune.preference.alignment import AlignmentObjective
from preftune.preference.heads import PreferenceModel
from preftune.training.trees import Tree

BETA = 0.1
VOCABULARY = 200
Gradients = dict[str, Tensor]


@pytest.fixture(autouse=True)
def cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The helpers of the benchmarks would take a card and bfloat16 where there is one; these tests are about fp32."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture(autouse=True)
def no_clipping(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sides clip at norm 1, which would hide a wrong scale of the gradient."""
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda parameters, limit: torch.tensor(1.0))


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    return make_model(0)


def make_model(seed: int) -> LlamaForCausalLM:
    """Peaked predictions: matrices of five times the usual size."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        initializer_range=0.1,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    return LlamaForCausalLM(config)


def make_trees(branches: int, count: int = 4, seed: int = 0) -> list[Tree]:
    """Random ids; prompts of 1 to 30 tokens and answers of 1 to 20, `<|im_end|>` (also the padding) included."""
    draw = np.random.default_rng(seed)

    def ids(size: int) -> list[int]:
        return [int(i) for i in draw.integers(3, VOCABULARY, size)]

    sizes = [(1, 20, 1), (30, 1, 12), *draw.integers(2, 20, (count - 2, 3)).tolist()]
    return [
        Tree(f"{i}", ids(prompt), tuple([*ids(size - 1), 2] for size in answers[:branches]))
        for i, (prompt, *answers) in enumerate(sizes)
    ]


def plain_sums(model: LlamaForCausalLM, pairs: Sequence[Tree]) -> Tensor:
    """Log-probabilities [pairs, 2] of the whole answers from logits, one sequence at a time."""
    sums = []
    for prompt, branch in ((tree.prompt, branch) for tree in pairs for branch in tree.branches):
        ids = torch.tensor([[*prompt, *branch]])
        with torch.no_grad():
            table = model(ids).logits[0, :-1].log_softmax(-1)
        sums.append(table.gather(1, ids[0, 1:, None])[-len(branch) :].sum())
    return torch.stack(sums).view(-1, 2)


def random_reference(model: LlamaForCausalLM, pairs: Sequence[Tree]) -> Tensor:
    """What a reference far from the policy could say; beta h of the four pairs is -0.5, 1, 1.5 and 2."""
    sums = plain_sums(model, pairs)
    sums[:, 0] -= torch.tensor([-5.0, 10.0, 15.0, 20.0])
    return sums - 3


def step(side: OurDpo | TheirDpo | OurSft | TheirSft, batch: Sequence[Tree]) -> tuple[float, Gradients]:
    """Loss of one step, and the gradients that its optimiser gets."""
    ours = isinstance(side, OurDpo | OurSft)
    model = side.model.causal_lm if ours else side.trainer.model
    optimizer = side.training.optimizer if ours else side.optimizer
    found: Gradients = {}

    def keep(*_: object) -> None:
        found.update({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})

    optimizer.register_step_pre_hook(keep)
    (loss,) = side(batch)
    return loss, found


def assert_same_step(theirs: TheirDpo | TheirSft, ours: OurDpo | OurSft, batch: Sequence[Tree]) -> float:
    """Losses to 1e-4, and every gradient to 1e-4 of its own norm."""
    their_loss, their_gradients = step(theirs, batch)
    our_loss, our_gradients = step(ours, batch)
    assert our_loss == pytest.approx(their_loss, abs=1e-4)
    assert our_gradients.keys() == their_gradients.keys() and len(our_gradients) > 10
    for name, gradient in their_gradients.items():
        assert gradient.norm() > 0
        assert (our_gradients[name] - gradient).norm() <= 1e-4 * gradient.norm(), name
    return our_loss


def dpo_formula(policy: Tensor, reference: Tensor, smoothing: float = 0.0, beta: float = BETA) -> float:
    """The mean of -(1 - eps) log sig(beta h) - eps log sig(-beta h), h = log-ratio of chosen less that of rejected."""
    ratios = policy - reference
    h = beta * (ratios[:, 0] - ratios[:, 1])
    return (-(1 - smoothing) * F.logsigmoid(h) - smoothing * F.logsigmoid(-h)).mean().item()


PASSES = pytest.mark.parametrize("budget", [None, 1], ids=["one pass", "a pass for each example"])


@PASSES
@pytest.mark.parametrize("online", [False, True], ids=["reference precomputed", "reference online"])
def test_dpo(model: LlamaForCausalLM, online: bool, budget: int | None) -> None:
    """The reference is another random model, whose log-probabilities are in a table or computed in the step."""
    pairs, tokenizer, other = make_trees(2), tiny_tokenizer(), make_model(1)
    reference = plain_sums(other, pairs)
    table = {pair.name: row for pair, row in zip(pairs, reference, strict=True)}
    theirs = TheirDpo(copy.deepcopy(model), tokenizer, None if online else table)
    ours = OurDpo(copy.deepcopy(model), tokenizer, pairs, reference, online)
    if online:
        theirs.trainer.ref_model.load_state_dict(other.state_dict())
        ours.online.causal_lm.load_state_dict(other.state_dict())
    ours.training.budget = budget or ours.training.budget
    loss = assert_same_step(theirs, ours, pairs)
    assert loss == pytest.approx(dpo_formula(plain_sums(model, pairs), reference), abs=1e-4)
    assert abs(loss - np.log(2)) > 0.05


@PASSES
def test_sft(model: LlamaForCausalLM, budget: int | None) -> None:
    """Completion-only loss: a mean over the answers' tokens of the batch, not over rows."""
    rows, tokenizer = make_trees(1), tiny_tokenizer()
    theirs = TheirSft(copy.deepcopy(model), tokenizer)
    ours = OurSft(copy.deepcopy(model), tokenizer, rows)
    ours.training.budget = budget or ours.training.budget
    loss = assert_same_step(theirs, ours, rows)
    tokens = sum(len(row.branches[0]) for row in rows)
    sums = plain_sums(model, [Tree(row.name, row.prompt, row.branches * 2) for row in rows])[:, 0]
    assert loss == pytest.approx(-sums.sum().item() / tokens, abs=1e-4)


@pytest.mark.parametrize("beta", [0.1, 0.3])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_label_smoothing_is_cdpo(model: LlamaForCausalLM, smoothing: float, beta: float) -> None:
    """The objective against the formula on log-probabilities of the plain model, to 1e-5."""
    pairs = make_trees(2)
    reference = random_reference(model, pairs)
    changes = {"policy_label_smoothing": smoothing, "beta": beta}
    ours = PreferenceModel(copy.deepcopy(model), tiny_tokenizer())
    objective = AlignmentObjective(ours, pairs, reference, dpo_settings(4).model_copy(update=changes))
    loss, _ = objective.loss([objective.draw(i, 1) for i in range(4)], 4)
    assert loss.item() == pytest.approx(
        dpo_formula(plain_sums(model, pairs), reference, smoothing, beta), abs=1e-5
    )


def test_label_smoothing_of_trl_is_not_cdpo(model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """TRL 1.16 reads label_smoothing in its robust, EXO and AOT losses only: its sigmoid loss is DPO without smoothing,
    whatever the config says, so cDPO cannot be compared with it."""
    options = training._trainer_options()
    monkeypatch.setattr(training, "_trainer_options", lambda: options | {"label_smoothing": 0.1})
    pairs = make_trees(2)
    reference = random_reference(model, pairs)
    table = {pair.name: row for pair, row in zip(pairs, reference, strict=True)}
    theirs = TheirDpo(copy.deepcopy(model), tiny_tokenizer(), table)
    assert theirs.trainer.label_smoothing == 0.1 and theirs.trainer.loss_types == ["sigmoid"]
    (loss,) = theirs(pairs)
    without, smoothed = (dpo_formula(plain_sums(model, pairs), reference, eps) for eps in (0.0, 0.1))
    assert loss == pytest.approx(without, abs=1e-4)
    assert abs(loss - smoothed) > 1e-2

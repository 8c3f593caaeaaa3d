"""Losses and gradients of the engine are those of TRL's trainers on the same ids, away from policy == reference."""

import copy
from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
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
    for branch, tree in ((branch, tree) for tree in pairs for branch in tree.branches):
        ids = torch.tensor([[*tree.prompt, *branch]])
        with torch.no_grad():
            table = model(ids).logits[0, :-1].log_softmax(-1)
        sums.append(table.gather(1, ids[0, 1:, None])[-len(branch) :].sum())
    return torch.stack(sums).view(-1, 2)


def random_reference(model: LlamaForCausalLM, pairs: Sequence[Tree]) -> Tensor:
    """What a reference far from the policy could say; beta h of the four pairs is about -1.5, -0.5, 0.5 and 1.5."""
    sums = plain_sums(model, pairs)
    sums[:, 0] += torch.tensor([15.0, 5.0, -5.0, -15.0])
    return sums - 3


def step(side: OurDpo | TheirDpo | OurSft | TheirSft, batch: Sequence[Tree]) -> tuple[float, Gradients]:
    """Loss of one step, and the gradients that its optimiser gets, clipped to norm 1 on both sides."""
    ours = isinstance(side, OurDpo | OurSft)
    model = side.model.causal_lm if ours else side.trainer.model
    optimizer = side.training.optimizer if ours else side.optimizer
    found: Gradients = {}

    def keep(*_: object) -> None:
        found.update({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})

    optimizer.register_step_pre_hook(keep)
    (loss,) = side(batch)
    return loss, found


def assert_same_step(
    theirs: TheirDpo | TheirSft, ours: OurDpo | OurSft, batch: Sequence[Tree]
) -> tuple[float, Gradients]:
    """Losses to 1e-4, and every gradient to 1e-4 of its own norm."""
    their_loss, their_gradients = step(theirs, batch)
    our_loss, our_gradients = step(ours, batch)
    assert our_loss == pytest.approx(their_loss, abs=1e-4)
    assert our_gradients.keys() == their_gradients.keys() and len(our_gradients) > 10
    for name, gradient in their_gradients.items():
        assert gradient.norm() > 0
        assert (our_gradients[name] - gradient).norm() <= 1e-4 * gradient.norm(), name
    return our_loss, our_gradients

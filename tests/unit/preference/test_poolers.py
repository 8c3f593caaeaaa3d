"""Poolers and the heads on them: sizes, formulas, dropout, first weights."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from preftune.errors import PreftuneError
from preftune.preference.poolers import POOLERS, build_pooler
from preftune.preference.reward_head import HeadConfig, RewardHead

MARKER = 2


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


@pytest.mark.parametrize("names", [(), ("honest", "honest")])
def test_heads_without_or_with_equal_names_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(PreftuneError, match="name each head once"):
        RewardHead(HeadConfig("identity", 8, 20, MARKER, names=names))

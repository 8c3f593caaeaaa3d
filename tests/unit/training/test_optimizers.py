"""LaProp, decay and schedules against their formulas."""

import io
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn

from preftune.settings.training import TrainingSettings
from preftune.training.optimizers import Decay, LaProp, make_optimizer, schedule_factor

SHAPES = [(3, 2), (4,), (1,)]


def settings(**changes: Any) -> TrainingSettings:
    return TrainingSettings.model_validate({"steps": 10, "batch": 1, "learning_rate": 0.1} | changes)


def make_parameters(dtype: torch.dtype = torch.float64) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype)) for shape in SHAPES]


def draw_gradients(steps: int, dtype: torch.dtype = torch.float64) -> list[list[Tensor]]:
    """Gradients of unlike sizes, some of them 0 and some tiny, where eps counts."""
    generator = torch.Generator().manual_seed(1)
    drawn = [
        [torch.randn(shape, generator=generator, dtype=dtype) * 10.0**-step for shape in SHAPES]
        for step in range(steps)
    ]
    drawn[0][0][0] = 0.0
    drawn[-1][1] *= 1e-6
    return drawn


def take(optimizer: torch.optim.Optimizer, gradients: list[Tensor], lr: float, decay: Decay | None = None):
    """One step at a learning rate, the decay before it as in training."""
    for group in optimizer.param_groups:
        group["lr"] = lr
    for parameter, gradient in zip(
        (p for group in optimizer.param_groups for p in group["params"]), gradients, strict=True
    ):
        parameter.grad = gradient.clone()
    if decay is not None:
        decay.step()
    optimizer.step()


def laprop_by_hand(
    theta: float, gradients: list[float], rates: list[float], beta1: float, beta2: float, eps: float
) -> list[float]:
    """LaProp of one number, from its formula; while the learning rate has only been 0, nothing moves."""
    v = m = c = 0.0
    path = []
    for t, (g, lr) in enumerate(zip(gradients, rates, strict=True), start=1):
        v = beta2 * v + (1 - beta2) * g * g
        normalised = g * math.sqrt(1 - beta2**t) / (math.sqrt(v) + eps)
        c = beta1 * c + (1 - beta1) * lr
        m = beta1 * m + (1 - beta1) * lr * normalised
        theta -= m * lr / c if c else 0.0
        path.append(theta)
    return path


@pytest.mark.parametrize("rates", [[0.1] * 5, [0.0, 0.02, 0.3, 0.0, 0.05], [0.0, 0.0, 1.0, 0.5, 0.0]])
@pytest.mark.parametrize(("betas", "eps"), [((0.9, 0.95), 1e-8), ((0.5, 0.8), 1e-2), ((0.0, 0.99), 1e-8)])
def test_laprop_equals_its_formula(rates: list[float], betas: tuple[float, float], eps: float) -> None:
    """Number by number over changing learning rates; one without a gradient stays."""
    parameters, gradients = make_parameters(), draw_gradients(len(rates))
    idle = nn.Parameter(torch.ones(2, dtype=torch.float64))
    starts = [p.detach().clone() for p in parameters]
    optimizer = LaProp([*parameters, idle], lr=1.0, betas=betas, eps=eps)
    paths = []
    for rate, drawn in zip(rates, gradients, strict=True):
        optimizer.param_groups[0]["lr"] = rate
        for parameter, gradient in zip(parameters, drawn, strict=True):
            parameter.grad = gradient
        optimizer.step()
        paths.append([p.detach().clone().flatten() for p in parameters])
    for number, start in enumerate(starts):
        for place, theta in enumerate(start.flatten().tolist()):
            numbers = [drawn[number].flatten()[place].item() for drawn in gradients]
            expected = laprop_by_hand(theta, numbers, rates, *betas, eps)
            assert [path[number][place].item() for path in paths] == pytest.approx(expected, abs=1e-12)
    assert idle.tolist() == [1.0, 1.0] and not optimizer.state[idle]


def test_laprop_of_a_group_knows_only_its_own_learning_rate() -> None:
    """c and the momentum belong to the group: two groups move as two optimisers would."""
    together, alone = make_parameters()[:2], make_parameters()[:2]
    optimizer = LaProp([{"params": [p], "lr": 0.1 * 3**i} for i, p in enumerate(together)], lr=1.0)
    single = [LaProp([p], lr=0.1 * 3**i) for i, p in enumerate(alone)]
    for factor, drawn in zip((1.0, 0.0, 0.5), draw_gradients(3), strict=True):
        for i in (0, 1):
            together[i].grad = alone[i].grad = drawn[i]
            optimizer.param_groups[i]["lr"] = single[i].param_groups[0]["lr"] = 0.1 * 3**i * factor
        for each in (optimizer, *single):
            each.step()
    assert all(torch.equal(a, b) for a, b in zip(together, alone, strict=True))


def test_laprop_steps_of_a_constant_gradient_are_the_learning_rate() -> None:
    """With eps = 0 the normalised gradient is its sign and m / c cancels: scale does not matter, from step 1 on."""
    parameter = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    optimizer = LaProp([parameter], lr=0.1, eps=0.0)
    for _ in range(4):
        take(optimizer, [torch.tensor([1e-3, -40.0], dtype=torch.float64)], 0.1)
    assert parameter.tolist() == pytest.approx([-0.4, 0.4], abs=1e-12)


def test_laprop_goes_on_from_its_saved_state() -> None:
    """Six steps, and three, a file, three: the same bytes, since t and c travel in the groups."""
    rates, gradients = [0.1, 0.0, 0.3, 0.2, 0.05, 0.1], draw_gradients(6, torch.float32)
    whole, cut = make_parameters(torch.float32), make_parameters(torch.float32)
    groups = [[{"params": p[:1]}, {"params": p[1:]}] for p in (whole, cut)]
    optimizer, first = (LaProp(each, lr=1.0) for each in groups)
    for rate, drawn in zip(rates, gradients, strict=True):
        take(optimizer, drawn, rate)
    for rate, drawn in zip(rates[:3], gradients[:3], strict=True):
        take(first, drawn, rate)
    stream = io.BytesIO()
    torch.save(first.state_dict(), stream)
    stream.seek(0)
    second = LaProp([{"params": cut[:1]}, {"params": cut[1:]}], lr=1.0)
    second.load_state_dict(torch.load(stream, weights_only=True))
    assert [(group["t"], group["c"]) for group in second.param_groups] == [
        (group["t"], group["c"]) for group in first.param_groups
    ]
    assert second.param_groups[0]["t"] == 3
    for rate, drawn in zip(rates[3:], gradients[3:], strict=True):
        take(second, drawn, rate)
    assert all(torch.equal(a, b) for a, b in zip(whole, cut, strict=True))


def test_adamw_with_decay_is_torchs() -> None:
    """Both decay before the step, by lr * decay, to zero."""
    ours, theirs = make_parameters(), make_parameters()
    chosen = settings(optimizer="adamw", weight_decay=0.3, betas=(0.8, 0.9))
    optimizer, decay = make_optimizer([{"params": ours}], chosen)
    other = torch.optim.AdamW(theirs, lr=0.1, betas=(0.8, 0.9), weight_decay=0.3)
    for rate, drawn in zip((0.1, 0.5, 0.0, 0.2), draw_gradients(4), strict=True):
        take(optimizer, drawn, rate, decay)
        take(other, drawn, rate)
    for mine, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, reference, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "kind"), [("adam", torch.optim.AdamW), ("adamw", torch.optim.AdamW), ("laprop", LaProp)]
)
def test_make_optimizer_follows_the_settings(name: str, kind: type) -> None:
    optimizer, _ = make_optimizer(
        [{"params": make_parameters()}], settings(optimizer=name, betas=(0.7, 0.8), weight_decay=0.2)
    )
    (group,) = optimizer.param_groups
    assert type(optimizer) is kind
    assert (group["lr"], group["betas"], group["eps"]) == (0.1, (0.7, 0.8), 1e-8)
    assert (group["decay"], group["decay_to"]) == (0.0 if name == "adam" else 0.2, "zero")


@pytest.mark.parametrize("own", [{}, {"decay": 0.5}], ids=["of the settings", "of the group"])
def test_adam_does_not_decay(own: dict[str, Any]) -> None:
    """Neither by the settings' weight_decay nor by a group's own."""
    parameters = make_parameters()
    before = [p.detach().clone() for p in parameters]
    _, decay = make_optimizer([{"params": parameters} | own], settings(optimizer="adam", weight_decay=0.5))
    decay.step()
    assert all(torch.equal(p, start) for p, start in zip(parameters, before, strict=True))


@pytest.mark.parametrize("name", ["adamw", "laprop"])
def test_each_group_has_its_own_rate_and_decay(name: str) -> None:
    """A group's own lr, decay and target win over the settings'; what it does not say is theirs."""
    a, b, c = (nn.Parameter(torch.full((2,), 2.0, dtype=torch.float64)) for _ in range(3))
    groups = [
        {"params": [a]},
        {"params": [b], "lr": 0.2, "decay": 0.25, "decay_to": "zero"},
        {"params": [c], "decay": 0.0},
    ]
    optimizer, decay = make_optimizer(groups, settings(optimizer=name, weight_decay=0.5, decay_to="start"))
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.2, 0.1]
    with torch.no_grad():
        for parameter in (a, b, c):
            parameter.fill_(3.0)
    decay.step()
    assert a.tolist() == pytest.approx([3.0 - 0.1 * 0.5 * (3.0 - 2.0)] * 2)
    assert b.tolist() == pytest.approx([3.0 - 0.2 * 0.25 * 3.0] * 2)
    assert c.tolist() == [3.0] * 2
    optimizer.param_groups[0]["lr"] = 0.0
    decay.step()
    assert a.tolist() == pytest.approx([2.95] * 2), "decay must follow the present learning rate"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_full_decay_to_the_start_returns_it_exactly(dtype: torch.dtype) -> None:
    parameters = make_parameters(dtype)
    before = [p.detach().clone() for p in parameters]
    chosen = settings(learning_rate=0.5, weight_decay=2.0, decay_to="start")
    _, decay = make_optimizer([{"params": parameters}], chosen)
    with torch.no_grad():
        for parameter in parameters:
            parameter.mul_(-17.3).add_(0.1)
    decay.step()
    assert all(torch.equal(p, start) for p, start in zip(parameters, before, strict=True))


def test_decay_to_the_start_without_gradients() -> None:
    """What no gradient reaches goes back to where it started, by the factor 1 - lr * decay a step, not to zero."""
    parameter = nn.Parameter(torch.tensor([4.0, -1.0], dtype=torch.float64))
    chosen = settings(optimizer="laprop", weight_decay=1.0, decay_to="start")
    optimizer, decay = make_optimizer([{"params": [parameter]}], chosen)
    with torch.no_grad():
        parameter.add_(1.0)
    for step in range(1, 4):
        decay.step()
        optimizer.step()
        assert parameter.tolist() == pytest.approx([4.0 + 0.9**step, -1.0 + 0.9**step], abs=1e-12)


def test_starts_are_copies_kept_only_where_needed() -> None:
    """A copy of the weights costs memory: only a group that decays to its start has one."""
    parameters = [nn.Parameter(torch.full((1,), float(i))) for i in range(4)]
    own = [{}, {"decay": 0.0}, {"decay_to": "zero"}, {"decay": 0.3}]
    groups = [{"params": [p]} | changes for p, changes in zip(parameters, own, strict=True)]
    _, decay = make_optimizer(groups, settings(optimizer="laprop", weight_decay=0.1, decay_to="start"))
    with torch.no_grad():
        parameters[3].fill_(9.0)
    assert [[start.item() for start in starts] for starts in decay.starts] == [[0.0], [], [], [3.0]]
    assert not any(start.requires_grad for starts in decay.starts for start in starts)
    _, none = make_optimizer([{"params": parameters}], settings(weight_decay=0.1))
    assert none.starts == [[]]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"steps": 3}, [1.0, 1.0, 1.0]),
        ({"steps": 5, "warmup_steps": 4, "final_ratio": 0.5}, [0.25, 0.5, 0.75, 1.0, 1.0]),
        ({"schedule": "linear", "steps": 4}, [0.75, 0.5, 0.25, 0.0]),
        ({"schedule": "linear", "steps": 4, "warmup_steps": 2}, [0.5, 1.0, 0.5, 0.0]),
        (
            {"schedule": "linear", "steps": 5, "warmup_steps": 1, "final_ratio": 0.2},
            [1.0, 0.8, 0.6, 0.4, 0.2],
        ),
        (
            {"schedule": "linear", "steps": 5, "cooldown_steps": 2, "final_ratio": 0.1},
            [0.55, 0.1, 0.1, 0.1, 0.1],
        ),
        ({"schedule": "cosine", "steps": 4}, [0.5 + 0.5**0.5 / 2, 0.5, 0.5 - 0.5**0.5 / 2, 0.0]),
        ({"schedule": "cosine", "steps": 4, "warmup_steps": 2}, [0.5, 1.0, 0.5, 0.0]),
        (
            {
                "schedule": "cosine",
                "steps": 7,
                "warmup_steps": 2,
                "cooldown_steps": 5,
                "final_ratio": 0.2,
            },
            [0.5, 1.0, 0.8, 0.4, 0.2, 0.2, 0.2],
        ),
        ({"schedule": "cosine", "steps": 3, "final_ratio": 1.0}, [1.0, 1.0, 1.0]),
        ({"schedule": "linear", "steps": 2, "warmup_steps": 4}, [0.25, 0.5]),
    ],
)
def test_schedule_by_hand(changes: dict[str, Any], expected: list[float]) -> None:
    chosen = settings(**changes)
    found = [schedule_factor(step, chosen) for step in range(1, chosen.steps + 1)]
    assert found == pytest.approx(expected, abs=1e-12)


@hypothesis_settings(deadline=None, max_examples=100, derandomize=True, database=None)
@given(
    schedule=st.sampled_from(["constant", "linear", "cosine"]),
    steps=st.integers(1, 40),
    warmup=st.integers(0, 30),
    cooldown=st.none() | st.integers(1, 50),
    ratio=st.floats(0, 1),
)
def test_schedule_rises_then_falls_within_0_and_1(
    schedule: str, steps: int, warmup: int, cooldown: int | None, ratio: float
) -> None:
    values = {"schedule": schedule, "steps": steps, "warmup_steps": warmup, "cooldown_steps": cooldown}
    if cooldown is not None and cooldown <= warmup:
        with pytest.raises(ValidationError, match="cooldown_steps must be larger than warmup_steps"):
            settings(**values)
        return
    chosen = settings(**values, final_ratio=ratio)
    factors = [schedule_factor(step, chosen) for step in range(1, steps + 1)]
    assert all(0 <= factor <= 1 for factor in factors)
    peak = min(max(warmup, 1), steps)
    assert factors[:peak] == sorted(factors[:peak])
    assert factors[peak - 1 :] == sorted(factors[peak - 1 :], reverse=True)
    if schedule != "constant" and steps > warmup and (cooldown or steps) <= steps:
        assert factors[-1] == pytest.approx(ratio, abs=1e-12)


@pytest.mark.parametrize("step", [1, 37, 199, 200, 201, 2000, 2961, 5721, 5722, 5723, 6144])
@pytest.mark.parametrize("ratio", [0.0, 0.1])
def test_schedule_of_the_dph_paper(step: int, ratio: float) -> None:
    """The paper counts tokens, rows of 2048: min(t / warm, rho + (1 - rho) cos^2(pi/2 x)) of the tokens seen."""
    chosen = settings(schedule="cosine", steps=6144, warmup_steps=200, cooldown_steps=5722, final_ratio=ratio)
    row = 128 * 2048
    elapsed = (step * row - 200 * row) / (5722 * row - 200 * row)
    fall = math.cos(math.pi / 2 * min(max(elapsed, 0.0), 1.0)) ** 2
    expected = min(step / 200, ratio + (1 - ratio) * fall)
    assert schedule_factor(step, chosen) == pytest.approx(expected, abs=1e-12)

"""The KL anchor: the divergence from the weights that alignment started from."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from preftune.models.devices import computing_in
from preftune.models.policy import load_policy, trainable_parameters
from preftune.preference.alignment import (
    AlignmentObjective,
    parameter_groups,
    start_alignment,
)
from preftune.preference.heads import PreferenceModel
from preftune.settings.alignment import AlignmentSettings
from preftune.training.loop import fit
from preftune.training.trees import Tree
from tests.unit.models.architectures import save_base
from tests.unit.preference.helpers import make_pairs, place_in

LEVELS = ["none", "blocks", "layers", "lora"]
KINDS = ["llama", "qwen2", "mistral"]  # an untied output embedding, a tied one, padded rows


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in KINDS}
    for kind, folder in folders.items():
        save_base(kind, folder)
    return folders


def settings(**changes: Any) -> AlignmentSettings:
    training = {"steps": 4, "batch": 4, "learning_rate": 1e-2}
    values = {"dph": "none", "policy": "kl", "training": training} | changes
    return AlignmentSettings.model_validate(values)


def start(folder: Path, chosen: AlignmentSettings) -> tuple[PreferenceModel, AlignmentObjective]:
    model = start_alignment(None, folder, chosen, 0, "cpu", torch.float32)
    return model, AlignmentObjective(model, make_pairs(model.tokenizer, 4), None, chosen)


def loss_of(objective: AlignmentObjective) -> Tensor:
    loss, logged = objective.loss([objective.draw(i, 1) for i in range(4)], 4)
    assert float(logged["policy_loss"]) == pytest.approx(
        loss.item() / objective.settings.policy_weight, rel=1e-6
    )
    return loss


@torch.no_grad()
def move(model: PreferenceModel, size: float = 0.05) -> list[Tensor]:
    """Move all that trains by random steps; returns where it was."""
    generator = torch.Generator().manual_seed(7)
    before = []
    for parameter in trainable_parameters(model.language_model):
        before.append(parameter.clone())
        parameter.add_(size * torch.randn(parameter.shape, generator=generator))
    return before


def plain_divergence(policy: nn.Module, reference: nn.Module, pairs: list[Tree]) -> Tensor:
    """KL(pi_ref || pi) over the whole vocabulary, summed over an answer's tokens, (KL_w + KL_l) / 2, mean over pairs;
    each answer read alone by the plain models."""
    total = torch.zeros(())
    for pair in pairs:
        for branch in pair.branches:
            ids = torch.tensor([[*pair.prompt, *branch]])
            own, other = (
                one(input_ids=ids).logits[0, len(pair.prompt) - 1 : -1].log_softmax(-1)
                for one in (policy, reference)
            )
            total = total + (other.exp() * (other - own)).sum() / 2
    return total / len(pairs)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", KINDS)
def test_value_and_gradient_are_the_plain_models(kind: str, level: str, folders: dict[str, Path]) -> None:
    """Zero at the start; moved, value and every gradient to 1e-4 of an independent computation."""
    chosen = settings(freeze=level, policy_weight=0.2)
    model, objective = start(folders[kind], chosen)
    assert loss_of(objective).item() == pytest.approx(0.0, abs=1e-6)
    reference, _ = load_policy(folders[kind])
    move(model)
    loss = loss_of(objective)
    parameters = trainable_parameters(model.language_model)
    found = torch.autograd.grad(loss, parameters)
    plain = plain_divergence(plain_twin(folders[kind], model), reference, list(objective.pairs))
    assert plain.item() > 1e-3
    assert loss.item() == pytest.approx(0.2 * plain.item(), rel=1e-4)
    if level == "lora":
        return  # the twin's weights are the merged ones
    twin = plain_twin(folders[kind], model)
    names = [name for name, parameter in model.language_model.named_parameters() if parameter.requires_grad]
    twins = [twin.get_parameter(name).requires_grad_() for name in names]
    wanted = torch.autograd.grad(0.2 * plain_divergence(twin, reference, list(objective.pairs)), twins)
    for name, one, other in zip(names, found, wanted, strict=True):
        assert (one - other).norm() <= 1e-4 * other.norm() + 1e-7, name


def plain_twin(folder: Path, model: PreferenceModel) -> nn.Module:
    """A model as transformers loads it, with the weights that `model` has now."""
    twin, _ = load_policy(folder)
    own = copy.deepcopy(model.language_model)
    if hasattr(own, "merge_and_unload"):
        own = own.merge_and_unload()
    twin.load_state_dict(own.state_dict())
    return twin


@pytest.mark.parametrize("level", LEVELS)
def test_the_gradient_pulls_back(level: str, folders: dict[str, Path]) -> None:
    """Its product with the way from the start is positive, and a small step against it lowers the divergence."""
    model, objective = start(folders["llama"], settings(freeze=level))
    if level == "lora":
        move(model)  # B, which is zero at the start, makes A matter
        objective = AlignmentObjective(model, objective.pairs, None, objective.settings)
    before = move(model)
    parameters = trainable_parameters(model.language_model)
    loss = loss_of(objective)
    gradients = torch.autograd.grad(loss, parameters)
    way = sum(
        (gradient * (parameter - old)).sum()
        for gradient, parameter, old in zip(gradients, parameters, before, strict=True)
    )
    assert float(way) > 0
    size = sum(gradient.square().sum() for gradient in gradients)
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.sub_(0.01 * loss.detach() / size * gradient)
    assert 0 < loss_of(objective).item() < loss.item()


@pytest.mark.parametrize("level", LEVELS)
def test_the_weights_come_back_bit_by_bit(level: str, folders: dict[str, Path]) -> None:
    """After the pass with the starting weights, in the same memory; the mode and the start too, even when it fails."""
    model, objective = start(folders["llama"], settings(freeze=level))
    move(model)
    parameters = dict(model.named_parameters())
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    places = {name: parameter.data_ptr() for name, parameter in parameters.items()}
    starts = [value.clone() for value in objective.start.weights]
    for training in (True, False):
        model.train(training)
        loss_of(objective).backward()
        assert model.training == training
        for name, parameter in model.named_parameters():
            assert torch.equal(parameter, before[name]) and parameter.data_ptr() == places[name], name
            assert (parameter.grad is not None) == parameter.requires_grad
    with pytest.raises(RuntimeError, match="in the block"), objective.start._restored():
        raise RuntimeError("in the block")
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())
    assert all(map(torch.equal, objective.start.weights, starts))


def test_dropout_is_off_in_the_reference_alone(folders: dict[str, Path]) -> None:
    """With dropout in the policy's attention its divergence at the start is not zero; without it, it is."""
    model, objective = start(folders["llama"], settings())
    for layer in model.causal_lm.model.layers:
        layer.self_attn.attention_dropout = 0.5
    model.eval()
    assert loss_of(objective).item() == pytest.approx(0.0, abs=1e-6)
    torch.manual_seed(0)
    model.train()
    assert loss_of(objective).item() > 1e-4
    # the reference draws nothing: the same seed gives the policy the same dropout with and without the anchor
    torch.manual_seed(0)
    states = model(list(objective.pairs)).hidden
    torch.manual_seed(0)
    output = model(list(objective.pairs))
    objective.start.divergence(output)
    assert torch.equal(output.hidden, states)


@pytest.mark.parametrize("level", ["none", "lora"])
def test_bfloat16_compares_with_the_start_too(level: str, folders: dict[str, Path]) -> None:
    """Autocast keeps its casts of a parameter while a block lasts: the pass with the starting weights must not get the
    policy's, nor what follows theirs. Only matrices that are cast are moved; 3 %: what bfloat16 rounds."""
    values = {}
    for dtype in (torch.float32, torch.bfloat16):
        model, objective = start(folders["llama"], settings(freeze=level))
        generator = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for name, parameter in model.language_model.named_parameters():
                if "proj" in name and parameter.requires_grad:
                    parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
        with computing_in(torch.device("cpu"), dtype):
            values[dtype] = [loss_of(objective).item() for _ in range(2)]
    assert min(values[torch.float32]) > 0.1
    assert values[torch.bfloat16] == pytest.approx(values[torch.float32], rel=0.03)


@pytest.mark.parametrize("level", LEVELS)
def test_a_step_leaves_the_start_and_the_anchor_holds(
    level: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    """Steps of the head's loss move the model away (the divergence is logged); a strong anchor lets it move less."""
    distances = {}
    for weight in (0.0, 50.0):
        chosen = settings(dph="separable", freeze=level, policy_weight=weight)
        model, objective = start(folders["llama"], chosen)
        fit(parameter_groups(model, chosen), objective, chosen.training, place_in(tmp_path))
        model.eval()
        with torch.no_grad():
            distances[weight] = float(objective.start.divergence(model(list(objective.pairs))))
    assert 0 < distances[50.0] < 0.5 * distances[0.0]


def test_the_start_is_the_adapters_and_not_the_base_models(base: Path, tmp_path: Path) -> None:
    """From an SFT adapter the divergence is zero, although the adapter is far from its base."""
    first, _ = start(base, settings(freeze="lora"))
    move(first, 0.2)
    first.save_pretrained(tmp_path)
    _, objective = start(tmp_path, settings(freeze="lora"))
    assert loss_of(objective).item() == pytest.approx(0.0, abs=1e-6)

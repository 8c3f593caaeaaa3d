"""Reference log-probabilities and the alignment objective."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from preftune.errors import PreftuneError
from preftune.files import read_jsonl
from preftune.models.policy import trainable_parameters
from preftune.preference.alignment import AlignmentObjective, Pair, parameter_groups, start_alignment
from preftune.preference.heads import PreferenceModel
from preftune.preference.losses import contrastive_dph_loss, dpo_loss, separable_dph_loss
from preftune.preference.reference import reference_table
from preftune.settings.alignment import AlignmentSettings
from preftune.settings.training import LoraSettings
from preftune.training.checkpoints import Checkpoints
from preftune.training.interruption import InterruptedTraining
from preftune.training.loop import fit
from preftune.training.optimizers import make_optimizer
from tests.unit.preference.helpers import make_model, make_pairs, new_policy, place_in

TRAINING = {"steps": 12, "batch": 4, "learning_rate": 5e-3}


@pytest.fixture(scope="module")
def checkpoint(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sft")
    policy, tokenizer = new_policy(base, LoraSettings(rank=2))
    PreferenceModel(policy, tokenizer).save_pretrained(folder)
    return folder


def settings(**changes) -> AlignmentSettings:
    values = {"dph": "separable", "policy": "dpo", "freeze": "lora", "training": TRAINING}
    return AlignmentSettings.model_validate(values | changes)


def reference_of(model: PreferenceModel, pairs) -> torch.Tensor:
    table, _ = reference_table(model, pairs)
    return torch.tensor(table[["chosen_logp", "rejected_logp"]].to_numpy(), dtype=torch.float32)


def loss_of(objective: AlignmentObjective, indices: list[int], units: int | None = None):
    return objective.loss([objective.draw(i, 1) for i in indices], units or len(indices))


@pytest.mark.parametrize("dph", ["separable", "contrastive"])
def test_objective_is_the_weighted_sum(base: Path, dph: str) -> None:
    model = make_model(base)
    pairs = make_pairs(model.tokenizer, 4)
    reference = reference_of(model, pairs) + torch.tensor([0.5, -0.25])
    chosen_settings = settings(dph=dph, dph_weight=0.5, policy_weight=2.0, beta=0.3, label_smoothing=0.2)
    loss, logged = loss_of(AlignmentObjective(model, pairs, reference, chosen_settings), [2, 0, 3])
    output = model([pairs[i] for i in (2, 0, 3)])
    rewards = torch.cat([output.rewards["reward"][0::2], output.rewards["reward"][1::2]])
    logps = torch.cat([output.log_probabilities[0::2], output.log_probabilities[1::2]])
    head_loss = (separable_dph_loss if dph == "separable" else contrastive_dph_loss)(
        rewards[:3], rewards[3:], 0.2
    )
    policy_loss = dpo_loss(logps[:3], logps[3:], reference[[2, 0, 3], 0], reference[[2, 0, 3], 1], 0.3, 0.1)
    assert loss.item() == pytest.approx((0.5 * head_loss + 2 * policy_loss).item(), abs=1e-5)
    assert logged["dph_loss"] == pytest.approx(head_loss.item(), abs=1e-5)
    assert logged["policy_loss"] == pytest.approx(policy_loss.item(), abs=1e-5)
    assert logged["margin"] == pytest.approx((rewards[:3] - rewards[3:]).mean().item(), abs=1e-5)
    assert logged["implicit_chosen_reward"] == pytest.approx(-0.15, abs=1e-5)
    assert logged["implicit_margin"] == pytest.approx(-0.225, abs=1e-5)
    assert logged["implicit_accuracy"] == 0.0


@pytest.mark.parametrize(("dph", "policy"), [("separable", "dpo"), ("contrastive", "none"), ("none", "dpo")])
def test_a_few_steps_lower_the_loss_and_leave_the_base_alone(
    base: Path, checkpoint: Path, tmp_path: Path, dph: str, policy: str
) -> None:
    chosen_settings = settings(dph=dph, policy=policy)
    model = start_alignment(base, checkpoint, chosen_settings, 0, "cpu", torch.float32)
    pairs = make_pairs(model.tokenizer, 4)
    reference = reference_of(model, pairs) if policy == "dpo" else None
    before = {name: value.clone() for name, value in model.language_model.state_dict().items()}
    objective = AlignmentObjective(model.train(), pairs, reference, chosen_settings)
    groups = parameter_groups(model, chosen_settings)
    facts = fit(groups, objective, chosen_settings.training, place_in(tmp_path))
    assert facts["last_loss"] < facts["first_loss"] - 0.02
    after = model.language_model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all("lora_" in name for name in changed)
    assert (model.head is None) == (dph == "none")
    model.save_pretrained(tmp_path / "aligned")
    assert (tmp_path / "aligned" / "head.json").exists() == (dph != "none")


def test_head_has_its_own_decay_and_learning_rate(base: Path, checkpoint: Path) -> None:
    chosen_settings = settings(head_weight_decay=0.3, head_learning_rate=0.5)
    model = start_alignment(base, checkpoint, chosen_settings, 0, "cpu", torch.float32)
    backbone, head = parameter_groups(model, chosen_settings)
    assert (head["decay"], head["decay_to"], head["lr"]) == (0.3, "zero", 0.5)
    assert "decay" not in backbone
    assert {id(p) for p in head["params"]} == {id(p) for p in model.head.parameters()}
    assert all(parameter.requires_grad for parameter in backbone["params"])


def test_parts_of_a_global_batch_add_up(base: Path) -> None:
    model = make_model(base)
    pairs = make_pairs(model.tokenizer, 4)
    objective = AlignmentObjective(model, pairs, reference_of(model, pairs), settings())
    whole, logged = loss_of(objective, [0, 1, 2, 3])
    parts = [loss_of(objective, indices, units=4) for indices in ([0], [1, 2, 3])]
    assert whole.item() == pytest.approx(sum(part[0].item() for part in parts), abs=1e-5)
    for name, value in logged.items():
        assert float(value) == pytest.approx(sum(float(part[1][name]) for part in parts), abs=1e-5), name


def test_an_answer_without_its_marker_has_no_reward(base: Path, checkpoint: Path) -> None:
    """A row whose `<|im_end|>` was cut away is named; an objective of the language model alone can do without."""
    for dph in ("separable", "none"):
        chosen = settings(policy="simpo", dph=dph)
        model = start_alignment(base, checkpoint, chosen, 0, "cpu", torch.float32)
        pairs = make_pairs(model.tokenizer, 3)
        pairs[1] = replace(pairs[1], branches=(pairs[1].branches[0], pairs[1].branches[1][:-1]))
        objective = AlignmentObjective(model, pairs, None, chosen)
        if dph == "none":
            assert loss_of(objective, [0, 1, 2])[0].isfinite()
            continue
        with pytest.raises(PreftuneError, match=r"example pair-1: a branch holds no <\|im_end\|> \(id 2\)"):
            loss_of(objective, [0, 1, 2])


def test_head_gradient_reaches_the_adapter(base: Path, checkpoint: Path) -> None:
    model = start_alignment(base, checkpoint, settings(policy="none"), 0, "cpu", torch.float32)
    pairs = make_pairs(model.tokenizer, 2)
    loss, logged = loss_of(AlignmentObjective(model, pairs, None, settings(policy="none")), [0, 1])
    loss.backward()
    gradients = [p.grad for name, p in model.language_model.named_parameters() if "lora_B" in name]
    assert all(gradient is not None and gradient.any() for gradient in gradients)
    assert "policy_loss" not in logged


def test_impossible_runs(base: Path) -> None:
    for changes, sentence in (
        ({"dph": "none", "policy": "none"}, "dph and policy are both none, so nothing would be trained"),
        ({"dph": "none", "reward_penalty": "each"}, "reward_penalty needs a reward head"),
        ({"freeze": "model"}, "with freeze: model only the head trains"),
        ({"freeze": "model", "dph": "none"}, "with freeze: model only the head trains"),
    ):
        with pytest.raises(ValidationError, match=sentence):
            settings(**changes)
    model = make_model(base)
    pairs = make_pairs(model.tokenizer, 2)
    for policy in ("dpo", "ipo"):
        with pytest.raises(PreftuneError, match=rf"policy: {policy} needs reference log-probabilities; run"):
            AlignmentObjective(model, pairs, None, settings(policy=policy))


def log_sigmoid(x: torch.Tensor) -> torch.Tensor:
    return -torch.log1p(torch.exp(-x))


# Of log-probabilities and reference [pairs, 2] (chosen, rejected) and tokens; beta 0.3, gamma 0.2, alpha 0.4.
FORMULAS: dict[str, Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "ipo": lambda own, reference, tokens: (
        (own / tokens - reference / tokens) @ torch.tensor([1.0, -1.0]) - 1 / 0.6
    ).square(),
    "simpo": lambda own, _, tokens: -log_sigmoid(0.3 * (own / tokens) @ torch.tensor([1.0, -1.0]) - 0.2),
    "orpo": lambda own, _, tokens: (
        -(own / tokens)[:, 0]
        - 0.4 * log_sigmoid(torch.logit((own / tokens).exp()) @ torch.tensor([1.0, -1.0]))
    ),
    "sft": lambda own, _, tokens: -(own / tokens)[:, 0],
}


@pytest.mark.parametrize("policy", FORMULAS)
def test_policy_losses_by_their_names(base: Path, policy: str) -> None:
    """Each reads the right log-probabilities, lengths and settings, beside the head's loss; all is logged by name."""
    model = make_model(base)
    pairs = make_pairs(model.tokenizer, 4)
    reference = reference_of(model, pairs) + torch.tensor([2.0, -1.0])
    constants = {"beta": 0.3, "target_margin": 0.2, "odds_weight": 0.4, "policy_weight": 0.5}
    loss, logged = loss_of(
        AlignmentObjective(model, pairs, reference, settings(policy=policy, **constants)), [2, 0]
    )
    with torch.no_grad():
        own = model([pairs[2], pairs[0]]).log_probabilities.view(-1, 2)
    tokens = torch.tensor([[len(branch) for branch in pairs[i].branches] for i in (2, 0)])
    expected = FORMULAS[policy](own, reference[[2, 0]], tokens).mean().item()
    assert float(logged["policy_loss"]) == pytest.approx(expected, abs=1e-5)
    assert loss.item() == pytest.approx(float(logged["dph_loss"]) + 0.5 * expected, abs=1e-5)
    rewards = {"chosen_reward", "rejected_reward", "margin", "accuracy"}
    implicit = {f"implicit_{name}" for name in rewards} if policy == "ipo" else set()
    assert set(logged) == {"dph_loss", "policy_loss"} | rewards | implicit


def test_flipped_pairs_exchange_answers_and_references(base: Path) -> None:
    """A seeded share of the pairs; the loss is that of pairs which were exchanged by hand."""
    model = make_model(base)
    pairs = make_pairs(model.tokenizer, 8)
    reference = reference_of(model, pairs) + torch.tensor([0.5, -0.25])
    objective = AlignmentObjective(model, pairs, reference, settings(flipped=0.25), seed=3)
    exchanged = [
        replace(pair, branches=pair.branches[::-1]) if flip else pair
        for pair, flip in zip(pairs, objective.flipped.tolist(), strict=True)
    ]
    assert sum(one is not other for one, other in zip(pairs, exchanged, strict=True)) == 2
    other = torch.where(objective.flipped[:, None], reference.flip(1), reference)
    found, wanted = (
        loss_of(one, list(range(8)))
        for one in (objective, AlignmentObjective(model, exchanged, other, settings()))
    )
    assert found[0].item() == pytest.approx(wanted[0].item(), abs=1e-6)
    assert {k: float(v) for k, v in found[1].items()} == pytest.approx(
        {k: float(v) for k, v in wanted[1].items()}, abs=1e-6
    )
    again = AlignmentObjective(model, pairs, reference, settings(flipped=0.25), seed=3)
    assert torch.equal(again.flipped, objective.flipped)
    plain = AlignmentObjective(model, pairs, reference, settings(), seed=3)
    assert not plain.flipped.any()


@pytest.mark.parametrize("freeze", ["none", "lora"])
def test_a_resumed_run_keeps_the_start_that_it_is_pulled_to(
    base: Path, checkpoint: Path, tmp_path: Path, freeze: str
) -> None:
    """Stopped and resumed, the KL anchor's reference and the target of decay_to: start are still the checkpoint's:
    metrics and weights are, to the byte, those of a run that was not stopped."""
    training = TRAINING | {"steps": 6, "decay_to": "start", "weight_decay": 5.0, "checkpoint_minutes": 0}
    chosen = settings(policy="kl", freeze=freeze, training=training)

    def run(name: str, stop_after: int | None) -> bytes:
        model = start_alignment(base, checkpoint, chosen, 0, "cpu", torch.float32)
        objective = AlignmentObjective(model, make_pairs(model.tokenizer, 4), None, chosen)
        if stop_after is not None:
            draw, drawn = objective.draw, iter(range(1000))

            def counted(index: int, step: int) -> Pair:
                if next(drawn) == 4 * stop_after - 1:  # the last pair of that step
                    os.kill(os.getpid(), signal.SIGTERM)
                return draw(index, step)

            objective.draw = counted  # type: ignore[method-assign]
        (tmp_path / name).mkdir(exist_ok=True)
        place = place_in(tmp_path / name, checkpoints=Checkpoints(tmp_path / name / "state", "kl"))
        fit(parameter_groups(model, chosen), objective, chosen.training, place)
        weights = [parameter.detach().numpy().tobytes() for parameter in model.parameters()]
        return b"".join([*weights, (tmp_path / name / "metrics.jsonl").read_bytes()])

    whole = run("whole", None)
    with pytest.raises(InterruptedTraining):
        run("stopped", 3)
    assert run("stopped", None) == whole
    losses = [row["policy_loss"] for row in read_jsonl(tmp_path / "whole/metrics.jsonl")]
    assert losses[0] == pytest.approx(0.0, abs=1e-5) and min(losses[1:]) > 1e-4


def test_the_trained_part_is_pulled_to_the_checkpoint_and_the_head_to_zero(
    base: Path, checkpoint: Path
) -> None:
    """decay_to: start of the backbone's group, whatever the head's decay is."""
    training = TRAINING | {"decay_to": "start", "weight_decay": 0.5}
    chosen = settings(freeze="layers", head_weight_decay=0.1, training=training)
    model = start_alignment(base, checkpoint, chosen, 0, "cpu", torch.float32)
    optimizer, decay = make_optimizer(parameter_groups(model, chosen), chosen.training)
    strengths = [(group["decay"], group["decay_to"]) for group in optimizer.param_groups]
    assert strengths == [(0.5, "start"), (0.1, "zero")]
    starts, nothing = decay.starts
    assert nothing == [] and len(starts) == len(trainable_parameters(model.language_model))
    groups = optimizer.param_groups
    before = [parameter.clone() for parameter in groups[1]["params"]]
    with torch.no_grad():
        for parameter in groups[0]["params"]:
            parameter.add_(1.0)
    decay.step()  # lr 5e-3: (theta - theta_0) shrinks by lr 0.5, the head by lr 0.1
    for parameter, start in zip(groups[0]["params"], starts, strict=True):
        torch.testing.assert_close(parameter, start + (1 - 5e-3 * 0.5), atol=1e-6, rtol=0)
    for parameter, value in zip(groups[1]["params"], before, strict=True):
        torch.testing.assert_close(parameter, value * (1 - 5e-3 * 0.1), atol=1e-8, rtol=1e-6)

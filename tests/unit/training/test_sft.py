"""Completion-only cross-entropy."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from preftune.models.policy import trainable_parameters
from preftune.preference.heads import PreferenceModel
from preftune.settings.training import LoraSettings, TrainingSettings
from preftune.training.loop import fit
from preftune.training.packing import pad
from preftune.training.sft import SftObjective
from tests.unit.preference.helpers import make_model, make_rows, new_policy, place_in


def test_equals_cross_entropy_with_masked_labels(base: Path) -> None:
    """The usual form: labels -100 outside the answer, shifted by one, mean over what is left."""
    model = make_model(base, head=False)
    rows = make_rows(model.tokenizer, 4)
    objective = SftObjective(model, rows)
    examples = [objective.draw(i, 1) for i in range(4)]
    loss, _ = objective.loss(examples, sum(map(objective.units, examples)))
    padded = pad(rows, marker=2)
    labels = torch.full_like(padded.input_ids, -100)
    for i, row in enumerate(rows):
        labels[i, len(row.prompt) : row.tokens] = torch.tensor(row.branches[0])
    logits = model.causal_lm(padded.input_ids, attention_mask=padded.attention_mask).logits
    expected = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)


def test_normalised_over_the_tokens_of_the_global_batch(base: Path) -> None:
    """Micro-batches' parts add up to the loss of the whole: each is divided by the tokens of all."""
    model = make_model(base, head=False)
    objective = SftObjective(model, make_rows(model.tokenizer, 3))
    examples = [objective.draw(i, 1) for i in range(3)]
    units = sum(map(objective.units, examples))
    both, counts = objective.loss(examples, units)
    parts = [objective.loss([example], units) for example in examples]
    assert counts["completion_tokens"] == units == sum(part[1]["completion_tokens"] for part in parts)
    assert both.item() == pytest.approx(sum(part[0].item() for part in parts), abs=1e-5)


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=4, targets=("q_proj", "v_proj", "up_proj"))])
def test_a_few_steps_lower_the_loss(base: Path, tmp_path: Path, lora: LoraSettings | None) -> None:
    policy, tokenizer = new_policy(base, lora)
    model = PreferenceModel(policy, tokenizer)
    frozen = {name: p.clone() for name, p in model.named_parameters() if not p.requires_grad}
    training = TrainingSettings(steps=10, batch=4, learning_rate=1e-2)
    objective = SftObjective(model, make_rows(tokenizer, 4))
    facts = fit([{"params": trainable_parameters(model)}], objective, training, place_in(tmp_path))
    assert facts["last_loss"] < facts["first_loss"] - 0.05
    assert all(torch.equal(value, model.get_parameter(name)) for name, value in frozen.items())
    assert bool(frozen) == (lora is not None)

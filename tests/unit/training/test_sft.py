"""Completion-only cross-entropy."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from preftune.preference.batches import collate_completions
from preftune.preference.heads import PreferenceModel
from preftune.settings import LoraSettings, TrainingSettings
from preftune.training.checkpoints import new_policy, trainable_parameters
from preftune.training.loop import fit
from preftune.training.sft import SftObjective, completion_cross_entropy
from tests.tiny import tiny_language_model
from tests.unit.preference.helpers import make_model, make_rows


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    tiny_language_model(folder)
    return folder


def test_equals_cross_entropy_with_masked_labels(base: Path) -> None:
    """The usual form: labels -100 outside the answer, shifted by one, mean over what is left."""
    model = make_model(base, head=False)
    batch = collate_completions(make_rows(model.tokenizer, 4), 2)
    labels = batch.input_ids.masked_fill(~batch.completion_mask, -100)
    logits = model.causal_lm(batch.input_ids, attention_mask=batch.attention_mask).logits
    expected = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
    assert completion_cross_entropy(model, batch).item() == pytest.approx(expected.item(), abs=1e-5)


def test_normalised_over_the_tokens_of_the_batch(base: Path) -> None:
    """Loss of a batch = (n1 loss1 + n2 loss2) / (n1 + n2), n the numbers of completion tokens."""
    model = make_model(base, head=False)
    objective = SftObjective(model, make_rows(model.tokenizer, 2))
    both, counts = objective([0, 1])
    parts = [objective([i]) for i in (0, 1)]
    weights = [part[1]["completion_tokens"] for part in parts]
    mean = sum(weight * part[0].item() for weight, part in zip(weights, parts, strict=True)) / sum(weights)
    assert counts["completion_tokens"] == sum(weights)
    assert both.item() == pytest.approx(mean, abs=1e-5)


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=4, targets=("q_proj", "v_proj", "up_proj"))])
def test_a_few_steps_lower_the_loss(base: Path, tmp_path: Path, lora: LoraSettings | None) -> None:
    policy, tokenizer = new_policy(base, lora, 0, "cpu", torch.float32)
    model = PreferenceModel(policy, tokenizer)
    frozen = {name: p.clone() for name, p in model.named_parameters() if not p.requires_grad}
    training = TrainingSettings(steps=10, batch=4, learning_rate=1e-2)
    objective = SftObjective(model, make_rows(tokenizer, 4))
    facts = fit(trainable_parameters(model), objective, 4, training, 0, tmp_path / "metrics.jsonl", "SFT")
    assert facts["last_loss"] < facts["first_loss"] - 0.05
    assert all(torch.equal(value, model.get_parameter(name)) for name, value in frozen.items())
    assert bool(frozen) == (lora is not None)

"""Checkpoints with heads: saved, loaded with one call, and refused where they do not fit."""

from pathlib import Path

import pytest
import torch

from preftune.errors import PreftuneError
from preftune.files import read_json, write_json
from preftune.models.policy import trainable_parameters
from preftune.preference.heads import PreferenceModel
from preftune.preference.reward_head import HeadConfig, RewardHead, load_head
from preftune.settings.training import LoraSettings
from preftune.training.trees import Tree
from tests.unit.preference.helpers import CONVERSATIONS, make_model, make_rows, new_policy

MARKER = 2


@torch.no_grad()
def outputs(model: PreferenceModel, rows: list[Tree]):
    return model(rows)


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=2)])
def test_save_and_load(base: Path, tmp_path: Path, lora: LoraSettings | None) -> None:
    policy, tokenizer = new_policy(base, lora)
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if lora is None or "lora_B" in name:
                parameter.add_(0.05 * torch.randn_like(parameter))
    model = PreferenceModel.with_new_head(policy, tokenizer, pooler="bert").eval()
    rows = make_rows(tokenizer, 3)
    expected = outputs(model, rows)
    model.save_pretrained(tmp_path)
    loaded = PreferenceModel.from_pretrained(tmp_path, base=base)
    assert not any(parameter.requires_grad for parameter in loaded.language_model.parameters())
    found = outputs(loaded, rows)
    assert torch.equal(found.token_log_probabilities, expected.token_log_probabilities)
    assert torch.equal(found.rewards["reward"], expected.rewards["reward"])
    head = read_json(tmp_path / "head.json")
    assert (head["pooler"], head["width"], head["names"], head["marker_id"]) == (
        "bert",
        32,
        ["reward"],
        MARKER,
    )


@pytest.mark.parametrize("kind", ["whole", "adapter"])
def test_one_call_loads_any_checkpoint(base: Path, tmp_path: Path, kind: str) -> None:
    """The folder alone: an adapter knows its base, the head lies beside either, and rewards come out as they were."""
    policy, tokenizer = new_policy(base, LoraSettings(rank=2) if kind == "adapter" else None)
    with torch.no_grad():
        for parameter in trainable_parameters(policy):
            parameter.add_(0.1 * torch.randn_like(parameter))
    model = PreferenceModel.with_new_head(policy, tokenizer).eval()
    model.save_pretrained(tmp_path)
    loaded = PreferenceModel.from_pretrained(tmp_path)
    assert not loaded.training and (loaded.causal_lm is loaded.language_model) == (kind == "whole")
    assert torch.equal(loaded.rewards(CONVERSATIONS), model.rewards(CONVERSATIONS))


def test_adapter_configuration_has_one_byte_sequence(base: Path, tmp_path: Path) -> None:
    targets = ("v_proj", "q_proj", "o_proj", "k_proj")
    policy, tokenizer = new_policy(base, LoraSettings(targets=targets))
    PreferenceModel(policy, tokenizer).save_pretrained(tmp_path)
    assert read_json(tmp_path / "adapter_config.json")["target_modules"] == sorted(targets)


def test_adapter_initialisation_follows_the_seed(base: Path) -> None:
    weights = [dict(new_policy(base, LoraSettings(), seed)[0].named_parameters()) for seed in (1, 1, 2)]
    name = next(name for name in weights[0] if "lora_A" in name)
    assert torch.equal(weights[0][name], weights[1][name])
    assert not torch.equal(weights[0][name], weights[2][name])


def test_damaged_or_foreign_heads(base: Path, tmp_path: Path) -> None:
    model = make_model(base)
    model.save_pretrained(tmp_path)
    fields = read_json(tmp_path / "head.json")
    write_json(tmp_path / "head.json", fields | {"width": 64})
    with pytest.raises(PreftuneError, match="does not fit"):
        load_head(tmp_path)
    write_json(tmp_path / "head.json", fields | {"pooler": "mean"})
    with pytest.raises(PreftuneError, match="unknown pooler 'mean'"):
        load_head(tmp_path)
    write_json(tmp_path / "head.json", {"pooler": "bert"})
    with pytest.raises(PreftuneError, match="does not describe a reward head"):
        load_head(tmp_path)
    write_json(tmp_path / "head.json", fields)
    (tmp_path / "head.safetensors").unlink()
    with pytest.raises(PreftuneError, match=r"head\.safetensors is missing"):
        load_head(tmp_path)


def test_a_head_that_reads_at_another_tokenizers_marker_is_refused(base: Path, tmp_path: Path) -> None:
    """A folder whose tokenizer was exchanged: it would read at a token that no branch holds, or at a wrong one."""
    model = make_model(base)
    model.save_pretrained(tmp_path)
    swapped = Path(tmp_path, "tokenizer.json").read_text()
    for old, new in (
        ("<|im_end|>", "<|tmp|>"),
        ("<|endoftext|>", "<|im_end|>"),
        ("<|tmp|>", "<|endoftext|>"),
    ):
        swapped = swapped.replace(old, new)
    Path(tmp_path, "tokenizer.json").write_text(swapped)
    sentence = r"reads at token 2 but this tokenizer's <\|im_end\|> is 0; load the head with the tokenizer"
    with pytest.raises(PreftuneError, match=sentence):
        PreferenceModel.from_pretrained(tmp_path)


def test_head_of_another_width_is_refused(base: Path) -> None:
    model = make_model(base, head=False)
    with pytest.raises(PreftuneError, match="saved for hidden size 48 but the language model's is 32"):
        PreferenceModel(
            model.language_model, model.tokenizer, RewardHead(HeadConfig("identity", 48, 96, MARKER))
        )


def test_adapter_errors(base: Path, tmp_path: Path) -> None:
    policy, tokenizer = new_policy(base, LoraSettings())
    PreferenceModel(policy, tokenizer).save_pretrained(tmp_path)
    config = read_json(tmp_path / "adapter_config.json")
    assert config["base_model_name_or_path"] == str(base)
    write_json(tmp_path / "adapter_config.json", config | {"base_model_name_or_path": "/gone/base"})
    with pytest.raises(PreftuneError, match=r"without its base model \(/gone/base is no folder\); give the"):
        PreferenceModel.from_pretrained(tmp_path)
    assert PreferenceModel.from_pretrained(tmp_path, base=base).causal_lm.config.hidden_size == 32
    with pytest.raises(PreftuneError, match=r"lora\.targets"):
        new_policy(base, LoraSettings(targets=("query",)))

"""Checkpoints with heads: saved, loaded with one call, and refused where they do not fit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from preftune.errors import PreftuneError
from preftune.files import read_json, write_json
from preftune.models.policy import load_policy, trainable_parameters
from preftune.preference.heads import PreferenceModel
from preftune.preference.reward_head import HeadConfig, RewardHead, load_head
from preftune.preference.scoring import score_trees
from preftune.settings.training import LoraSettings
from preftune.training.trees import Tree
from tests.unit.models.architectures import save_base
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


FAMILIES = {
    "llama": {},
    "qwen2": {},
    "gpt_neox": {},
    "opt": {},
    "opt-350m": {"word_embed_proj_dim": 16, "do_layer_norm_before": False},
    "lsw_transformer": {},
}
"""Architectures that the registry names, and OPT-350m's table of another width, which is that of its last states."""
# What a stranger runs: transformers alone, from a folder where our code is not found.
STRANGER = """
import importlib.util, sys, torch
from transformers import AutoModelForCausalLM
assert importlib.util.find_spec("preftune") is None
logits = [AutoModelForCausalLM.from_pretrained(folder)(torch.tensor([[5, 17, 1, 300, 2]])).logits for folder in sys.argv[2:]]
torch.save(logits, sys.argv[1])
"""


def save_family(family: str, folder: Path) -> PreferenceModel:
    """A model of an architecture, whose base is in `folder`/base, with a head, saved in `folder`/run."""
    save_base(family.split("-")[0], folder / "base", **FAMILIES[family])
    language_model, tokenizer = load_policy(folder / "base")
    torch.manual_seed(1)
    model = PreferenceModel.with_new_head(language_model, tokenizer).eval()
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.mul_(20.0)
    model.save_pretrained(folder / "run")
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_on_any_architecture_comes_back(family: str, tmp_path: Path) -> None:
    """Beside an ordinary folder of transformers, whose weights hold nothing of the head; rewards are the same to the bit."""
    model = save_family(family, tmp_path)
    found = PreferenceModel.from_pretrained(tmp_path / "run")
    assert torch.equal(found.rewards(CONVERSATIONS), model.rewards(CONVERSATIONS))
    assert (found.rewards(CONVERSATIONS).diff().abs() > 1e-4).all()
    tree = make_rows(model.tokenizer, 1)
    scores = score_trees(model, tree, states=True)
    assert scores.states is not None and scores.states.shape == (1, model.head.config.width)
    kept = load_file(tmp_path / "run" / "model.safetensors")
    assert set(kept) == set(load_file(tmp_path / "base" / "model.safetensors"))


def test_a_stranger_loads_the_language_model_without_our_code(tmp_path: Path) -> None:
    """Every architecture that transformers has; the released one is a class of ours."""
    strange = [family for family in FAMILIES if family != "lsw_transformer"]
    models = [save_family(family, tmp_path / family) for family in strange]
    folders = [str(tmp_path / family / "run") for family in strange]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-I", "-c", STRANGER, str(tmp_path / "logits.pt"), *folders]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    ids = torch.tensor([[5, 17, 1, 300, 2]])
    for model, found in zip(models, torch.load(tmp_path / "logits.pt"), strict=True):
        # The engine's own attention sums in another order.
        torch.testing.assert_close(model.causal_lm(input_ids=ids).logits, found, atol=1e-5, rtol=1e-5)


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

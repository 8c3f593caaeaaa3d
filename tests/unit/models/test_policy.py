"""Policies on disk: whole models and adapters, loaded with one call."""

import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor, nn

from preftune.errors import PreftuneError
from preftune.models.policy import count_parameters, is_adapter, load_policy, save_policy
from preftune.settings.training import LoraSettings
from tests.tiny import tiny_language_model
from tests.unit.models.architectures import save_base
from tests.unit.preference.helpers import new_policy


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter on `base` that changes what it computes."""
    folder = tmp_path_factory.mktemp("adapter")
    policy, tokenizer = new_policy(base, LoraSettings(rank=2))
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(1))
    save_policy(policy, tokenizer, folder)
    return folder


@torch.no_grad()
def logits_of(model: nn.Module) -> Tensor:
    return model.eval()(input_ids=torch.tensor([[5, 9, 301, 42, 7, 2, 11, 480]])).logits


def test_an_adapter_finds_its_base_and_another_one_may_be_given(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    """A copy of the base elsewhere gives the same numbers, other weights others."""
    assert is_adapter(adapter) and not is_adapter(base)
    wanted = logits_of(load_policy(adapter)[0])
    assert (wanted - logits_of(load_policy(base)[0])).abs().max() > 1e-3
    shutil.copytree(base, tmp_path / "copy")
    assert torch.equal(logits_of(load_policy(adapter, tmp_path / "copy")[0]), wanted)
    tiny_language_model(tmp_path / "other", seed=5)
    assert not torch.equal(logits_of(load_policy(adapter, tmp_path / "other")[0]), wanted)


@pytest.mark.parametrize(("kind", "changes"), [("gpt2", {}), ("llama", {"hidden_size": 64})])
def test_a_base_that_the_adapter_does_not_fit_is_named(
    adapter: Path, tmp_path: Path, kind: str, changes: dict[str, int]
) -> None:
    """Other layers, or layers of another size."""
    save_base(kind, tmp_path, **changes)
    sentence = rf"adapter {adapter} does not fit the base model {tmp_path} .*give the base that it was"
    with pytest.raises(PreftuneError, match=f"(?s){sentence}"):
        load_policy(adapter, tmp_path)


@pytest.mark.parametrize("trainable", [False, True])
@pytest.mark.parametrize("kind", ["whole", "adapter"])
def test_what_has_a_gradient(base: Path, adapter: Path, kind: str, trainable: bool) -> None:
    """Nothing, or a whole model, or an adapter alone; the mode follows."""
    model, _ = load_policy(adapter if kind == "adapter" else base, trainable=trainable)
    free = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    names = {name for name, _ in model.named_parameters()}
    assert free == {name for name in names if trainable and (kind == "whole" or "lora_" in name)}
    assert model.training == trainable and isinstance(model, PeftModel) == (kind == "adapter")
    counts = count_parameters(model)
    assert counts["trainable_parameters"] == sum(model.get_parameter(name).numel() for name in free)
    assert counts["parameters"] == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("trainable", "dtype"), [(False, torch.bfloat16), (True, torch.float32)])
def test_precision_of_a_whole_model(base: Path, trainable: bool, dtype: torch.dtype) -> None:
    """As asked for, unless it trains: then fp32 whatever is asked for."""
    model, _ = load_policy(base, dtype=torch.bfloat16, trainable=trainable)
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}


@pytest.mark.parametrize("trainable", [False, True])
def test_what_is_saved_is_what_is_loaded(base: Path, adapter: Path, tmp_path: Path, trainable: bool) -> None:
    """The same bytes again, from either mode."""
    for kind, folder in (("whole", base), ("adapter", adapter)):
        model, tokenizer = load_policy(folder, trainable=trainable)
        save_policy(model, tokenizer, tmp_path / kind)
        name = "adapter_model.safetensors" if kind == "adapter" else "model.safetensors"
        assert (tmp_path / kind / name).read_bytes() == (folder / name).read_bytes()
        assert torch.equal(logits_of(load_policy(tmp_path / kind)[0]), logits_of(model))


def test_folders_that_are_no_model_are_named(tmp_path: Path) -> None:
    with pytest.raises(PreftuneError, match=rf"{tmp_path} holds no config\.json: it must be a transformers"):
        load_policy(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(PreftuneError, match="cannot be loaded as a causal language model"):
        load_policy(tmp_path)

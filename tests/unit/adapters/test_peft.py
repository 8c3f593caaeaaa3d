"""Groups are ordinary PEFT adapters: the agnostic rows are PEFT's own, groups go out and in as its files."""

from pathlib import Path

import peft
import pytest
import torch
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model

from preftune.adapters.install import install_adapters
from preftune.adapters.io import load_group, save_adapters
from preftune.errors import PreftuneError
from preftune.settings.adapters import GroupSettings
from tests.unit.adapters.adapter_helpers import disturb, ids, make_model, run, settings, text_only

LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CONFIGS = {
    "lora": LoraConfig(r=3, lora_alpha=3, target_modules=LINEARS),
    "ia3": IA3Config(target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"]),
}


@pytest.mark.parametrize("kind", ["lora", "ia3"])
def test_agnostic_is_a_plain_peft_model(kind: str) -> None:
    """The same layers of the same classes, and the same outputs and gradients, as from `peft.get_peft_model`."""
    ours, theirs = make_model(), make_model()
    adapters = install_adapters(ours, settings(kind, "agnostic"))
    plain = get_peft_model(theirs, CONFIGS[kind], adapter_name="all")
    found = {name: type(module) for name, module in ours.named_modules()}
    assert found == {name: type(module) for name, module in plain.base_model.model.named_modules()}
    disturb(adapters)
    values = dict(adapters.named_parameters())
    for name, parameter in plain.base_model.model.named_parameters():
        if parameter.requires_grad:
            parameter.data = values.pop(name).data.clone()
    assert not values
    logits, gradients = run(ours, adapters, None)
    wanted = plain(ids()).logits
    assert torch.equal(logits, wanted)
    direction = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1), dtype=wanted.dtype)
    (wanted * direction).sum().backward()
    trained = dict(plain.base_model.model.named_parameters())
    for (name, _), gradient in zip(adapters.named_parameters(), gradients, strict=True):
        assert torch.equal(trained[name].grad, gradient)


@pytest.mark.parametrize("kind", ["lora", "ia3", "bitfit"])
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_a_group_is_a_plain_peft_adapter(kind: str, architecture: str, tmp_path: Path) -> None:
    """PEFT loads a group's folder by itself; on text alone that is what the text group does."""
    if (kind, architecture) == ("bitfit", "gpt2"):
        pytest.skip("PEFT's BEFT knows no Conv1D")
    model = make_model(architecture)
    adapters = install_adapters(model, settings(kind))
    disturb(adapters)
    save_adapters(adapters, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image", "text"]
    loaded = PeftModel.from_pretrained(make_model(architecture), tmp_path / "text").eval()
    torch.testing.assert_close(loaded(ids()).logits, run(model, adapters, text_only())[0])


@pytest.mark.parametrize("kind", ["lora", "ia3"])
def test_a_peft_adapter_becomes_a_group(kind: str, tmp_path: Path) -> None:
    plain = get_peft_model(make_model(), CONFIGS[kind])
    torch.manual_seed(3)
    for parameter in plain.parameters():
        if parameter.requires_grad:
            parameter.data += 0.2 * torch.randn_like(parameter)
    plain.save_pretrained(tmp_path)
    model = make_model()
    adapters = install_adapters(model, settings(kind, "image"))
    load_group(adapters, "words", GroupSettings(modalities=["text"]), tmp_path)
    torch.testing.assert_close(run(model, adapters, text_only())[0], plain.eval()(ids()).logits.detach())


def test_foreign_peft_adapters_are_refused(tmp_path: Path) -> None:
    adapters = install_adapters(make_model(), settings("lora", "image"))
    for name, config in {
        "ia3": CONFIGS["ia3"],
        "dora": LoraConfig(r=2, target_modules=["q_proj"], use_dora=True),
        "narrow": LoraConfig(r=2, target_modules=["q_proj"]),
    }.items():
        get_peft_model(make_model(), config).save_pretrained(tmp_path / name)
    with pytest.raises(PreftuneError, match="is a IA3 adapter but these are of kind lora"):
        load_group(adapters, "a", GroupSettings(), tmp_path / "ia3")
    with pytest.raises(PreftuneError, match="sets use_dora"):
        load_group(adapters, "b", GroupSettings(), tmp_path / "dora")
    with pytest.raises(PreftuneError, match="does not exist"):
        load_group(adapters, "c", GroupSettings(), tmp_path / "nowhere")
    other = get_peft_model(make_model("opt"), LoraConfig(r=2, target_modules=["q_proj"]))
    other.save_pretrained(tmp_path / "opt")
    with pytest.raises(PreftuneError, match="no such tensor"):
        load_group(adapters, "d", GroupSettings(), tmp_path / "opt")


def test_peft_still_has_what_we_build_on() -> None:
    """Private parts of PEFT that a new version could move."""
    assert {"_create_new_module", "inject_adapter", "_cast_adapter_dtype"} <= set(dir(peft.LoraModel))

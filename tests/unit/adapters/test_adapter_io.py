"""Saved adapters come back bit for bit; files that do not fit are refused in one sentence."""

from pathlib import Path

import pytest
import torch

from preftune.adapters.install import install_adapters
from preftune.adapters.io import (
    describe_base,
    load_adapters,
    read_schema,
    read_tensors,
    save_adapters,
    write_schema,
)
from preftune.errors import PreftuneError
from preftune.files import read_json
from tests.unit.adapters.adapter_helpers import KINDS, disturb, layout, make_model, run, settings


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip(kind: str, tmp_path: Path) -> None:
    model, other = make_model(), make_model()
    trained, fresh = install_adapters(model, settings(kind)), install_adapters(other, settings(kind), seed=9)
    disturb(trained)
    for parameter in fresh.parameters():
        parameter.data = parameter.data.double()
    save_adapters(trained, tmp_path)
    load_adapters(fresh, tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(trained.parameters(), fresh.parameters(), strict=True))
    assert torch.equal(run(model, trained, layout())[0], run(other, fresh, layout())[0])


def test_groups_are_peft_folders(tmp_path: Path) -> None:
    adapters = install_adapters(make_model(), settings("lora"))
    save_adapters(adapters, tmp_path)
    tensors = read_tensors(tmp_path / "text" / "adapter_model.safetensors")
    name = "model.layers.0.self_attn.q_proj.lora_A"
    wanted = dict(adapters.named_parameters())[f"{name}.text.weight"]
    assert torch.equal(tensors[f"base_model.model.{name}.weight"], wanted)
    config = read_json(tmp_path / "image" / "adapter_config.json")
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 3, 3)


@pytest.mark.parametrize(
    ("kind", "context", "targets", "message"),
    [
        ("bitfit", "specific", "AF", "no such tensor"),
        ("lora", "agnostic", "AF", "does not exist"),
        ("lora", "specific", "A", "tensors that these adapters do not have"),
    ],
)
def test_another_kind_is_refused(kind: str, context: str, targets: str, message: str, tmp_path: Path) -> None:
    save_adapters(install_adapters(make_model(), settings("lora")), tmp_path)
    with pytest.raises(PreftuneError, match=message):
        load_adapters(install_adapters(make_model(), settings(kind, context, targets)), tmp_path)


def test_another_rank_is_refused(tmp_path: Path) -> None:
    save_adapters(install_adapters(make_model(), settings("lora")), tmp_path)
    narrow = settings("lora").model_copy(update={"rank": 2})
    with pytest.raises(PreftuneError, match=r"should have shape \[2, 32\] but there is shape \[3, 32\]"):
        load_adapters(install_adapters(make_model(), narrow), tmp_path)


def test_another_base_model_is_refused(tmp_path: Path) -> None:
    base = describe_base(make_model())
    write_schema(tmp_path, {"base": base})
    assert read_schema(tmp_path, base)["base"] == base
    with pytest.raises(PreftuneError, match="hidden_size 32 instead of 576"):
        read_schema(tmp_path, base | {"hidden_size": 576})


def test_damaged_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(PreftuneError, match="does not exist"):
        read_tensors(tmp_path / "adapter.safetensors")
    (tmp_path / "adapter.safetensors").write_bytes(b"broken")
    with pytest.raises(PreftuneError, match="is damaged"):
        read_tensors(tmp_path / "adapter.safetensors")

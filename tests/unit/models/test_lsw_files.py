"""LSW Transformers on disk: published counts and names, released configurations and states, folders of the pipeline."""

import json
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from preftune.errors import PreftuneError
from preftune.models.language import load_language_model
from preftune.models.lsw import PAPER_150M, LswConfig, LswForCausalLM, LswModel, split_released
from preftune.models.policy import start_policy
from preftune.preference.heads import PreferenceModel
from preftune.preference.reward_head import HeadConfig, RewardHead
from preftune.settings.training import LoraSettings
from tests.unit.models.architectures import save_base
from tests.unit.models.lsw_models import IDS, RELEASED, TINY, make_model
from tests.unit.preference.helpers import CONVERSATIONS


@pytest.mark.parametrize(
    ("fields", "parameters", "without_table"),
    [
        (PAPER_150M, 153_196_032, 114_587_136),  # Context-PEFT, Table 3: full fine-tuning
        (RELEASED, 550_978_560, 512_369_664),  # published as 551M, and 512M without the table
    ],
)
def test_published_counts(fields: dict, parameters: int, without_table: int) -> None:
    with torch.device("meta"):
        model = LswForCausalLM(LswConfig(**fields))
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert parameters - model.get_input_embeddings().weight.numel() == without_table


def test_released_names() -> None:
    """Every tensor of a released file, by its published name; the tied table once."""
    block = [f"{part}.{kind}" for kind in ("weight", "bias") for part in (
        "att_norm", "att.proj_q", "att.proj_k", "att.proj_v", "att.proj_o", "ffn_norm", "ffn.fc1", "ffn.fc2"
    )]  # fmt: skip
    assert set(make_model().state_dict()) == {
        "model.input_embedding.embedding.weight",
        "model.input_proj.weight",
        *(f"model.{norm}_norm.{kind}" for norm in ("input", "output") for kind in ("weight", "bias")),
        *(f"model.blocks.{layer}.{name}" for layer in range(2) for name in block),
        "head_proj.weight",
    }


@pytest.mark.parametrize("variant", ["released", "both", "paper"])
def test_a_folder_gives_the_model_back(variant: str, tmp_path: Path) -> None:
    """Every value and every tensor once, by either Auto class; saved again, the same bytes."""
    model = make_model(variant)
    model.save_pretrained(tmp_path / "one")
    names = set(load_file(tmp_path / "one" / "model.safetensors"))
    assert names == set(model.state_dict())
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "one")
    assert type(loaded) is LswForCausalLM
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    assert loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight
    body = AutoModel.from_pretrained(tmp_path / "one")
    with torch.no_grad():
        assert torch.equal(loaded(input_ids=IDS[None]).logits, model(input_ids=IDS[None]).logits)
        assert type(body) is LswModel
        assert torch.equal(body(IDS[None]).last_hidden_state, model.model(IDS[None]).last_hidden_state)
    loaded.save_pretrained(tmp_path / "two")
    one, two = (tmp_path / name / "model.safetensors" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_the_released_configuration_loads_unchanged(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(RELEASED))
    config = AutoConfig.from_pretrained(tmp_path)
    assert type(config) is LswConfig and config.max_position_embeddings == 4096
    assert (config.hidden_size, config.intermediate_size, config.head_size) == (1536, 4096, 64)
    kept = {name: value for name, value in RELEASED.items() if value is not None}
    for name in kept.keys() - {"_name_or_path", "torch_dtype", "transformers_version"}:
        assert config.to_dict()[name] == RELEASED[name], name


@pytest.mark.parametrize(
    ("name", "value"), [("rope_dynamic", True), ("gated_att", True), ("dropout_ffn_out", 0.1)]
)
def test_what_no_released_model_has_is_refused(name: str, value: object) -> None:
    with pytest.raises(PreftuneError, match=f"{name}: {value}, which no released model has .* set it to"):
        LswConfig(**RELEASED | {name: value})
    with pytest.raises(PreftuneError, match="n_heads 5 does not divide d_model 32"):
        LswConfig(**TINY | {"n_heads": 5})


@pytest.mark.parametrize("pooler", ["identity", "bert", "t5", "swiglu_bert", "swiglu_t5"])
def test_a_released_state_with_a_reward_head(
    pooler: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The language model loads beside it without a word, and the head's part is a `RewardHead`'s."""
    model = make_model()
    torch.manual_seed(1)
    head = RewardHead(HeadConfig(pooler, width=32, inner_width=24, marker_id=2, names=("dph", "two")))
    names = {"pooler.dense": "pooler_pipeline.0", "pooler.expand": "pooler_pipeline.1"}
    names |= {
        "pooler.contract": "pooler_pipeline.3",
        "heads.dph": "reward_heads.dph",
        "heads.two": "reward_heads.two",
    }
    extra = {}
    for name, tensor in head.state_dict().items():
        layer, _, kind = name.rpartition(".")
        extra[f"{names[layer]}.{kind}"] = tensor
    language, found = split_released(model.state_dict() | extra)
    assert language.keys() == model.state_dict().keys()
    assert found.keys() == head.state_dict().keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in head.state_dict().items())
    assert split_released(language)[1] == {}
    model.save_pretrained(tmp_path)
    save_file(model.state_dict() | extra, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with caplog.at_level(logging.WARNING):
        loaded, info = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()) and not caplog.records
    assert torch.equal(loaded.head_proj.weight, model.head_proj.weight)


def test_a_pooler_of_another_kind_is_refused() -> None:
    state = {f"pooler_pipeline.{i}.weight": torch.ones(1) for i in range(3)}
    with pytest.raises(PreftuneError, match="pooler has 3 linear layers"):
        split_released(state)


def test_the_table_is_resized_in_both_places(tmp_path: Path) -> None:
    model = make_model()
    with torch.no_grad():
        before = model(input_ids=IDS[None]).logits
        model.resize_token_embeddings(43, mean_resizing=False)
        assert torch.equal(model(input_ids=IDS[None]).logits[..., :40], before)
    assert model.config.vocab_size == 43 and model.get_output_embeddings().weight.shape == (43, 12)
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(again.get_input_embeddings().weight, model.get_input_embeddings().weight)


def test_the_engine_takes_it(tmp_path: Path) -> None:
    """Loading, a reward head on the last state, LoRA on its layers, and blocks that freeze."""
    save_base("lsw_transformer", tmp_path)
    loaded, tokenizer = load_language_model(tmp_path, torch.device("cpu"), torch.float32)
    model = PreferenceModel.with_new_head(loaded, tokenizer).eval()
    assert model.head.config.width == 32 and model.head.config.inner_width == 48
    with torch.no_grad():
        assert model.rewards(CONVERSATIONS).shape == (2,)
    lora = LoraSettings(rank=2, targets=["proj_q", "fc1"])
    policy, _ = start_policy(tmp_path, tmp_path, "lora", lora, 0, torch.device("cpu"), torch.float32)
    assert sum("lora_A" in name for name, _ in policy.named_parameters()) == 4
    frozen, _ = start_policy(tmp_path, None, "layers", None, 0, torch.device("cpu"), torch.float32)
    trains = {name for name, parameter in frozen.named_parameters() if parameter.requires_grad}
    assert trains == {name for name, _ in frozen.named_parameters() if "norm" in name or "blocks" not in name}

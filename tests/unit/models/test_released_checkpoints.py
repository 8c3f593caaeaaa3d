"""A checkpoint in the released layout becomes a folder like any aligned run's: the same logits, and the formula's rewards."""

import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModelForCausalLM

from preftune.data.chat import MARKER, encode_prompt, marker_id
from preftune.errors import PreftuneError
from preftune.models.conversion import convert_model
from preftune.models.lsw import LswConfig, LswForCausalLM
from preftune.preference.heads import PreferenceModel
from preftune.preference.reward_head import HeadConfig, RewardHead
from preftune.settings.sources import ModelSource
from tests.released import (
    CONFIG,
    HEAD,
    released_files,
    released_head,
    released_state,
    tokenizer_files,
    write_files,
)
from tests.unit.models.lsw_models import RELEASED

SOURCE = ModelSource(name="released", kind="local", format="lsw")
CHAT = [
    {"role": "system", "content": "Answer yes or no."},
    {"role": "user", "content": "Is the dog small?"},
    {"role": "assistant", "content": "yes"},
]


def convert(tmp_path: Path, files: dict[str, bytes], **more: object) -> Path:
    convert_model(SOURCE.model_copy(update=more), write_files(tmp_path / "raw", files), tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("pickled", [False, True])
def test_log_probabilities_and_reward_are_those_of_the_released_state(tmp_path: Path, pickled: bool) -> None:
    """One pass of the loaded folder against a model with the same tensors, and the head's formula written out."""
    folder = convert(tmp_path, released_files(tmp_path / "tokenizer", pickled=pickled))
    loaded = PreferenceModel.from_pretrained(folder)
    plain = LswForCausalLM(LswConfig(**CONFIG)).eval()
    plain.load_state_dict({name: one.float() for name, one in released_state(CONFIG | HEAD, seed=1).items()})
    prompt = encode_prompt(loaded.tokenizer, CHAT[:-1])
    answer = loaded.tokenizer.encode("yes", add_special_tokens=False)
    ids = torch.tensor([[*prompt, *answer, marker_id(loaded.tokenizer), 7, 9]])  # what follows is not read
    with torch.no_grad():
        wanted = plain(input_ids=ids, output_hidden_states=True)
        assert torch.equal(loaded.causal_lm(input_ids=ids).logits, wanted.logits)
        state = wanted.hidden_states[-1][0, len(prompt) + len(answer)]
        head = {name: one.float() for name, one in released_head(CONFIG | HEAD).items()}
        value, gate = F.linear(state, head["pooler_pipeline.0.weight"], head["pooler_pipeline.0.bias"]).chunk(
            2
        )
        inner = value * gate * torch.sigmoid(gate)
        pooled = torch.tanh(head["pooler_pipeline.2.weight"] @ inner + head["pooler_pipeline.2.bias"])
        reward = head["reward_heads.reward_head.weight"] @ pooled
        torch.testing.assert_close(loaded.rewards([CHAT]), reward, atol=1e-5, rtol=0)
        swapped = torch.tanh(
            head["pooler_pipeline.2.weight"] @ (gate * F.silu(value)) + head["pooler_pipeline.2.bias"]
        )
        assert (head["reward_heads.reward_head.weight"] @ swapped - reward).abs() > 1e-3


def test_the_folder_is_an_ordinary_one(tmp_path: Path) -> None:
    """The language model loads without its head, in the released precision, and is saved without the head's tensors."""
    folder = convert(tmp_path, released_files(tmp_path / "tokenizer"))
    loaded, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()) and loaded.dtype == torch.float16
    head = json.loads((folder / "head.json").read_text())
    assert head["names"] == ["reward_head"] and head["pooler"] == "swiglu_bert" and head["width"] == 32


def test_a_checkpoint_without_head_gets_none(tmp_path: Path) -> None:
    folder = convert(tmp_path, released_files(tmp_path / "tokenizer", head=False))
    assert PreferenceModel.from_pretrained(folder).head is None


def test_a_tokenizer_from_elsewhere_gets_the_chat_tokens(tmp_path: Path) -> None:
    """The pretrained checkpoint's repository has no tokenizer: OPT's is taken, and the two tokens fall into spare rows."""
    files = tokenizer_files(tmp_path / "plain")
    files = {name: data.replace(b"<|im_end|>", b"<|two|>") for name, data in files.items()}
    elsewhere = write_files(tmp_path / "elsewhere", files)
    raw = write_files(tmp_path / "raw", released_files(tmp_path / "none", head=False, tokenizer=False))
    with pytest.raises(PreftuneError, match="holds no tokenizer: name the repository that does"):
        convert_model(SOURCE, raw, tmp_path / "failed")
    source = SOURCE.model_copy(update={"chat_tokens": True})
    convert_model(source, raw, tmp_path / "model", elsewhere)
    loaded = PreferenceModel.from_pretrained(tmp_path / "model")
    assert loaded.tokenizer.decode([marker_id(loaded.tokenizer)]) == MARKER
    assert loaded.causal_lm.config.vocab_size == 512


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"reward_pooler": "bert"}, r"the reward head \(bert\) lacks pooler.dense"),
        ({"reward_pooler": "mean"}, "unknown pooler 'mean'"),
        ({"reward_heads": None}, "does not describe one"),
        ({"reward_heads": ["other"]}, "lacks heads.other.weight"),
        ({"d_ffn": 20}, r"the language model has other shapes of model.blocks.0.ffn.fc1.bias, .* and 3 more"),
        ({"n_layers": 3}, "the language model lacks model.blocks.2.att.proj_k.bias"),
        ({"qk_norm": True}, "the language model lacks model.blocks.0.att.k_norm.weight"),
    ],
)
def test_a_configuration_of_another_checkpoint_is_refused(
    tmp_path: Path, change: dict, sentence: str
) -> None:
    files = released_files(tmp_path / "tokenizer")
    files["config.json"] = json.dumps(CONFIG | HEAD | change).encode()
    with pytest.raises(PreftuneError, match=sentence):
        convert(tmp_path, files)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    files = released_files(tmp_path / "tokenizer")
    del files["model.safetensors"]
    with pytest.raises(PreftuneError, match="neither model"):
        convert(tmp_path, files)


def test_counts_of_the_released_head_at_full_size() -> None:
    """551 M parameters, and 18.9 M of the pooler and its head: the difference of the two released files' sizes."""
    with torch.device("meta"):
        model = LswForCausalLM(LswConfig(**RELEASED | HEAD))
        head = RewardHead(HeadConfig("swiglu_bert", RELEASED["d_model"], RELEASED["d_ffn"], 50266))
    counts = [sum(one.numel() for one in part.parameters()) for part in (model, head)]
    assert counts == [550_978_560, 18_885_632]

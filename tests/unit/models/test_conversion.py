"""A base model whose tokenizer does not know ChatML gets the two tokens."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from preftune.data.chat import marker_id
from preftune.errors import PreftuneError
from preftune.models.conversion import convert_model
from preftune.settings.sources import ModelSource
from tests.tiny import tiny_tokenizer

SOURCE = ModelSource(name="plain", kind="local", chat_tokens=True)


def plain_model(folder: Path, spare: int, tied: bool) -> LlamaForCausalLM:
    """A tiny model whose tokenizer lacks the chat tokens; `spare` rows of its embedding are unused."""
    tokenizer = tiny_tokenizer(folder)
    text = (
        (folder / "tokenizer.json")
        .read_text()
        .replace("<|im_start|>", "<|one|>")
        .replace("<|im_end|>", "<|two|>")
    )
    (folder / "tokenizer.json").write_text(text)
    config = (folder / "tokenizer_config.json").read_text()
    config = config.replace("<|im_start|>", "<|one|>").replace("<|im_end|>", "<|two|>")
    (folder / "tokenizer_config.json").write_text(config)
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=len(tokenizer) + spare, tie_word_embeddings=tied, **shape)
    )
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("tied", [True, False])
def test_rows_are_added_where_there_is_no_room(tmp_path: Path, tied: bool) -> None:
    before = plain_model(tmp_path / "raw", 0, tied)
    with pytest.raises(PreftuneError, match="no single token"):
        marker_id(AutoTokenizer.from_pretrained(tmp_path / "raw"))
    convert_model(SOURCE, tmp_path / "raw", tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    old = before.get_input_embeddings().weight
    assert marker_id(tokenizer) == len(old) + 1
    for layer, known in (
        (model.get_input_embeddings(), old),
        (model.get_output_embeddings(), before.get_output_embeddings().weight),
    ):
        assert torch.equal(layer.weight[: len(old)], known)
        torch.testing.assert_close(layer.weight[len(old) :], known.mean(dim=0).expand(2, -1))


def test_spare_rows_are_used_as_they_are(tmp_path: Path) -> None:
    before = plain_model(tmp_path / "raw", 4, True)
    convert_model(SOURCE, tmp_path / "raw", tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert torch.equal(model.get_input_embeddings().weight, before.get_input_embeddings().weight)
    assert marker_id(AutoTokenizer.from_pretrained(tmp_path / "model")) < model.config.vocab_size

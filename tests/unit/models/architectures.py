"""Tiny random models of several architectures, in folders with the tiny tokenizer."""

from pathlib import Path

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedModel

import preftune.models.lsw  # noqa: F401 (known to the Auto classes by its import)
from tests.tiny import tiny_tokenizer

SIZE = {
    "vocab_size": 512,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "initializer_range": 0.1,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}
GROUPED = SIZE | {"num_key_value_heads": 2}
GPT2 = SIZE | {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
OPT = SIZE | {"ffn_dim": 48, "word_embed_proj_dim": 32, "init_std": 0.1, "dropout": 0.0}
ARCHITECTURES = {
    "llama": GROUPED,
    "qwen2": GROUPED | {"tie_word_embeddings": True},
    "gpt2": {key: value for key, value in GPT2.items() if key != "intermediate_size"},
    "opt": OPT,
    "gpt_neox": SIZE,
    "lsw_transformer": SIZE | {"d_vocab": 16},
    "mistral": GROUPED | {"sliding_window": 8},  # read padded: its window does not follow the branches
    "bloom": SIZE | {"hidden_dropout": 0.0, "attention_dropout": 0.0},  # padded: position biases
}


def save_base(kind: str, folder: Path, seed: int = 0, **changes: object) -> PreTrainedModel:
    """Write a base model of this architecture into `folder`; `changes` are of its configuration."""
    tiny_tokenizer(folder)
    torch.manual_seed(seed)
    config = CONFIG_MAPPING[kind](**ARCHITECTURES[kind] | changes)
    model = AutoModelForCausalLM.from_config(config).eval()
    model.save_pretrained(folder)
    return model

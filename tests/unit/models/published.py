"""Shapes of the language models of config/models.yaml, as their published config.json gives them."""

from typing import Any

from transformers import CONFIG_MAPPING
from transformers.configuration_utils import PreTrainedConfig

from preftune.models.lsw import PAPER_150M
from tests.unit.models.lsw_models import RELEASED


def rotary(kind: str, words: int, width: int, inner: int, layers: int, heads: int, shared: int | None = None,
           tied: bool = False) -> dict[str, Any]:  # fmt: skip
    """Fields of a Llama, Qwen 2 or GPT-NeoX configuration; `shared` is the number of key-value heads."""
    grouped = {} if shared is None else {"num_key_value_heads": shared}
    return {"model_type": kind, "vocab_size": words, "hidden_size": width, "intermediate_size": inner,
            "num_hidden_layers": layers, "num_attention_heads": heads, "tie_word_embeddings": tied, **grouped}  # fmt: skip


def opt(width: int, inner: int, layers: int, heads: int, table: int, **more: Any) -> dict[str, Any]:
    return {"model_type": "opt", "vocab_size": 50272, "max_position_embeddings": 2048, "hidden_size": width,
            "ffn_dim": inner, "num_hidden_layers": layers, "num_attention_heads": heads, "word_embed_proj_dim": table,
            **more}  # fmt: skip


SMOLLM2_135M = rotary("llama", 49152, 576, 1536, 30, 9, 3, tied=True)
SMOLLM2_360M = rotary("llama", 49152, 960, 2560, 32, 15, 5, tied=True)
QWEN25_05B = rotary("qwen2", 151936, 896, 4864, 24, 14, 2, tied=True)
QWEN15_05B = rotary("qwen2", 151936, 1024, 2816, 24, 16, 16, tied=True)
QWEN15_18B = rotary("qwen2", 151936, 2048, 5504, 24, 16, 16)
LLAMA32_1B = rotary("llama", 128256, 2048, 8192, 16, 32, 8, tied=True)
PUBLISHED = {
    "smollm2-135m": SMOLLM2_135M,
    "smollm2-135m-instruct": SMOLLM2_135M,
    "smollm2-135m-instruct-hub": SMOLLM2_135M,
    "smollm2-360m": SMOLLM2_360M,
    "smollm2-360m-instruct": SMOLLM2_360M,
    "smollm2-1.7b-instruct": rotary("llama", 49152, 2048, 8192, 24, 32, 32, tied=True),
    "qwen2.5-0.5b": QWEN25_05B,
    "qwen2.5-0.5b-instruct": QWEN25_05B,
    "qwen1.5-0.5b": QWEN15_05B,
    "qwen1.5-0.5b-chat": QWEN15_05B,
    "qwen1.5-1.8b": QWEN15_18B,
    "qwen1.5-1.8b-chat": QWEN15_18B,
    "pythia-160m": rotary("gpt_neox", 50304, 768, 3072, 12, 12),
    "pythia-410m": rotary("gpt_neox", 50304, 1024, 4096, 24, 16),
    "pythia-1b": rotary("gpt_neox", 50304, 2048, 8192, 16, 8),
    "pythia-1.4b": rotary("gpt_neox", 50304, 2048, 8192, 24, 16),
    "opt-125m": opt(768, 3072, 12, 12, 768),
    "opt-350m": opt(1024, 4096, 24, 16, 512, do_layer_norm_before=False),
    "tinyllama-1.1b": rotary("llama", 32000, 2048, 5632, 22, 32, 4),
    "llama-3.2-1b": LLAMA32_1B,
    "llama-3.2-1b-instruct": LLAMA32_1B,
    "lovelace-medium-alpha1": RELEASED,
    "lovelace-medium-alpha1-sft": RELEASED,
    "lovelace-medium-alpha1-dph": RELEASED,
    "cpeft-lm-150m": PAPER_150M | {"model_type": "lsw_transformer"},
}


def config_of(fields: dict[str, Any]) -> PreTrainedConfig:
    """The configuration of a model's fields."""
    return CONFIG_MAPPING[fields["model_type"]](
        **{name: value for name, value in fields.items() if name != "model_type"}
    )


LANGUAGE_MODELS = {name: config_of(fields) for name, fields in PUBLISHED.items()}

"""Tiny LSW Transformers of every setting, and the released configuration."""

import pytest
import torch
from torch import Tensor

from preftune.models.lsw import PAPER_150M, LswConfig, LswForCausalLM

# The whole config.json of `Avelina/lovelace-medium-alpha1-sft`.
RELEASED = {
    "_name_or_path": "./checkpoints/LoveLace-M-vocab_X9Ge",
    "architectures": ["LSWTForCausalLM"],
    "bos_token_id": 2,
    "d_ffn": 4096,
    "d_model": 1536,
    "d_vocab": 768,
    "dropout_att_mat": 0.0,
    "dropout_att_out": 0.0,
    "dropout_ffn_int": 0.0,
    "dropout_ffn_out": 0.0,
    "dropout_layers": 0.0,
    "enable_bias": True,
    "eos_token_id": 2,
    "gated_att": False,
    "gated_ffn": True,
    "init_std": 0.02,
    "model_type": "lsw_transformer",
    "n_heads": 24,
    "n_layers": 18,
    "n_registers": 0,
    "pad_token_id": 1,
    "parent_embeddings": "facebook/opt-125m",
    "qk_norm": False,
    "recompute_kv": False,
    "reward_dropout": 0.0,
    "reward_heads": None,
    "reward_pooler": "identity",
    "rope_base_freq": 500000,
    "rope_dynamic": False,
    "rope_ntk_scale": 1.0,
    "rope_positions": 4096,
    "rope_reversed": True,
    "rope_yarn_a": 0.07,
    "rope_yarn_b": 1.0,
    "torch_dtype": "float16",
    "trainable_embeddings": True,
    "transformers_version": "4.37.2",
    "use_cache": True,
    "vocab_size": 50272,
}
TINY = {
    "vocab_size": 40,
    "d_vocab": 12,
    "d_model": 32,
    "d_ffn": 24,
    "n_heads": 4,
    "n_layers": 2,
    "rope_base_freq": 50,  # all angles of short rows show
    "rope_positions": 64,
}
VARIANTS = {
    "released": {},
    "paper": PAPER_150M,
    "registers": {"n_registers": 3},
    "qk_norm": {"qk_norm": True},
    "both": {"n_registers": 3, "qk_norm": True},
    "ntk": {"rope_ntk_scale": 3.0},
    "forwards": {"rope_reversed": False},
    "gelu": {"gated_ffn": False},
    "unbiased": {"enable_bias": False},
}
IDS = torch.tensor([5, 17, 3, 3, 39, 8, 0, 21, 12, 30])
every_variant = pytest.mark.parametrize("variant", VARIANTS)


def make_model(variant: str = "released", **changes: object) -> LswForCausalLM:
    """A tiny model all of whose parameters are random, scales and biases too."""
    torch.manual_seed(0)
    model = LswForCausalLM(LswConfig(**TINY | VARIANTS[variant] | changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter) + (parameter == 1))
    return model


def assert_close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)

"""Layers of an LSW Transformer, with the released names of their parameters.

Source: the released code of Hadji-Kyriacou and Arandjelovic (2024), arXiv 2405.20053.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.cache_utils import Cache
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb, eager_attention_forward

from preftune.models.lsw.configuration import LswConfig


def rotary_tables(config: LswConfig, position_ids: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """cos and sin [rows, seq, size] of the rotation of each position.

    The released model counts positions from the end of the sequence. Scores of tokens see differences of positions alone,
    so that this is the ordinary rotation backwards, and a key in the cache never turns again. Registers, which do not turn,
    would see the end: they are met from the start here, lest what follows a token change its state.
    """
    size = config.head_size
    base = config.rope_base_freq * config.rope_ntk_scale ** (size / (size - 2))
    powers = torch.arange(0, size, 2, device=position_ids.device, dtype=torch.float32) / size
    angles = position_ids[..., None].float() * base**-powers
    angles = torch.cat([angles, angles], dim=-1) * (-1 if config.rope_reversed else 1)
    return angles.cos().to(dtype), angles.sin().to(dtype)


class LswHeadRMSNorm(nn.Module):
    """x / (rms(x) + eps) of every head on its own, with a learnt scale [heads, size] (`qk_norm`)."""

    def __init__(self, config: LswConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.n_heads, config.head_size))

    def forward(self, heads: Tensor) -> Tensor:
        """Queries or keys [rows, heads, seq, size] -> the same shape."""
        return heads / (heads.square().mean(-1, keepdim=True).sqrt() + 1e-5) * self.weight[:, None]


class LswAttention(nn.Module):
    """Causal attention with rotary positions; registers are keys and values that every query sees."""

    is_causal = True
    num_key_value_groups = 1

    def __init__(self, config: LswConfig, layer_idx: int) -> None:
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        width, bias = config.d_model, config.enable_bias
        self.proj_q, self.proj_k, self.proj_v, self.proj_o = (
            nn.Linear(width, width, bias=bias) for _ in range(4)
        )
        self.q_norm, self.k_norm = (
            LswHeadRMSNorm(config) if config.qk_norm else nn.Identity() for _ in range(2)
        )
        if config.n_registers:
            shape = (1, config.n_heads, config.n_registers, config.head_size)
            self.registers_k, self.registers_v = (nn.Parameter(torch.empty(shape)) for _ in range(2))

    def forward(
        self,
        hidden: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """[rows, seq, width] -> the same, and weights [rows, heads, queries, keys] of the eager implementation."""
        shape = (*hidden.shape[:-1], -1, self.config.head_size)
        query, key, value = (
            projection(hidden).view(shape).transpose(1, 2)
            for projection in (self.proj_q, self.proj_k, self.proj_v)
        )
        query, key = apply_rotary_pos_emb(self.q_norm(query), self.k_norm(key), *position_embeddings)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        if self.config.n_registers:
            key, value, attention_mask = self._prepend_registers(key, value, attention_mask)
        attend: Callable[..., Any] = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        scaling = self.config.head_size**-0.5
        found, weights = attend(
            self, query, key, value, attention_mask, dropout=0.0, scaling=scaling, **kwargs
        )
        return self.proj_o(found.reshape(hidden.shape)), weights

    def _prepend_registers(
        self, key: Tensor, value: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Behind the cache, which holds the keys of tokens alone; a packed pass has no mask, and finds too many keys."""
        registers = (parameter.to(key.dtype) for parameter in (self.registers_k, self.registers_v))
        key, value = (
            torch.cat([register.expand(len(tokens), -1, -1, -1), tokens], dim=2)
            for register, tokens in zip(registers, (key, value), strict=True)
        )
        if mask is not None:  # boolean: true is visible; additive: zero is
            mask = F.pad(mask, (self.config.n_registers, 0), value=float(mask.dtype == torch.bool))
        return key, value, mask


class LswFeedForward(nn.Module):
    """SwiGLU whose first half of fc1 is the value and whose second is the gate, or GELU without a gate."""

    def __init__(self, config: LswConfig) -> None:
        super().__init__()
        self.gated = config.gated_ffn
        self.fc1 = nn.Linear(config.d_model, config.d_ffn * (1 + self.gated), bias=config.enable_bias)
        self.fc2 = nn.Linear(config.d_ffn, config.d_model, bias=config.enable_bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """[rows, seq, width] -> the same."""
        inner = self.fc1(hidden)
        if not self.gated:
            return self.fc2(F.gelu(inner))
        value, gate = inner.chunk(2, dim=-1)
        return self.fc2(value * F.silu(gate))


class LswBlock(GradientCheckpointingLayer):
    """Pre-norm block: x + att(LN x), then x + ffn(LN x)."""

    def __init__(self, config: LswConfig, layer_idx: int) -> None:
        super().__init__()
        self.att_norm = nn.LayerNorm(config.d_model)
        self.att = LswAttention(config, layer_idx)
        self.ffn_norm = nn.LayerNorm(config.d_model)
        self.ffn = LswFeedForward(config)

    def forward(self, hidden: Tensor, **kwargs: Any) -> Tensor:
        """[rows, seq, width] -> the same; `kwargs` are the attention's."""
        hidden = hidden + self.att(self.att_norm(hidden), **kwargs)[0]
        return hidden + self.ffn(self.ffn_norm(hidden))

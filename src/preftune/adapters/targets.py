"""Which layers of a language model the target sets A (attention) and F (feed-forward) mean."""

from dataclasses import dataclass

from torch import nn

from preftune.adapters.layers import is_plain_linear
from preftune.errors import PreftuneError
from preftune.names import nearest


@dataclass(frozen=True)
class Targets:
    """Ends of the paths of a model type's linear layers.

    attention: queries, keys, values (or all in one matrix) and output; scaled: those whose output IA3 scales (keys and
    values; a fused matrix as a whole); up: into the feed-forward layer (a fused gate-and-up matrix is one); down: out of
    it, whose input IA3 scales.
    """

    attention: tuple[str, ...]
    scaled: tuple[str, ...]
    up: tuple[str, ...]
    down: tuple[str, ...]


_LLAMA = Targets(
    attention=("q_proj", "k_proj", "v_proj", "o_proj"), scaled=("k_proj", "v_proj"),
    up=("gate_proj", "up_proj"), down=("down_proj",),
)  # fmt: skip
TARGETS: dict[str, Targets] = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "smollm3", "olmo2"), _LLAMA),
    "phi3": Targets(("qkv_proj", "o_proj"), ("qkv_proj",), ("gate_up_proj",), ("down_proj",)),
    "lsw_transformer": Targets(
        ("proj_q", "proj_k", "proj_v", "proj_o"), ("proj_k", "proj_v"), ("fc1",), ("fc2",)
    ),
    "opt": Targets(("q_proj", "k_proj", "v_proj", "out_proj"), ("k_proj", "v_proj"), ("fc1",), ("fc2",)),
    "gpt_neox": Targets(
        ("query_key_value", "attention.dense"), ("query_key_value",), ("dense_h_to_4h",), ("dense_4h_to_h",)
    ),
    "gpt2": Targets(("c_attn", "attn.c_proj"), ("c_attn",), ("c_fc",), ("mlp.c_proj",)),
}
"""By `model_type` of the configuration. A new architecture is one row."""


def layer_names(model: nn.Module, kind: str, targets: str) -> tuple[list[str], list[str]]:
    """Ends of the paths that a kind adapts under a target set, and which of them are scaled at their input (IA3).

    Raises:
        PreftuneError: the architecture is not known, has not these layers, or they are quantised.
    """
    model_type = str(getattr(getattr(model, "config", None), "model_type", type(model).__name__))
    if model_type not in TARGETS:
        raise PreftuneError(
            f"Context adapters do not know the layers of a {model_type} model ({nearest(model_type, TARGETS)}): add a row to "
            "preftune.adapters.targets.TARGETS."
        )
    rows = TARGETS[model_type]
    attention = rows.scaled if kind == "ia3" else rows.attention
    feedforward = rows.down if kind == "ia3" else rows.up + rows.down
    chosen = [*(attention if "A" in targets else ()), *(feedforward if "F" in targets else ())]
    _check(model, model_type, chosen)
    return chosen, [name for name in chosen if kind == "ia3" and name in rows.down]


def _check(model: nn.Module, model_type: str, names: list[str]) -> None:
    modules = dict(model.named_modules())
    for name in names:
        found = [module for path, module in modules.items() if f".{path}".endswith(f".{name}")]
        if not found:
            raise PreftuneError(f"This {model_type} model has no layer named {name}: choose other targets.")
        for module in found:
            base = getattr(module, "base_layer", module)
            if not is_plain_linear(base):
                raise PreftuneError(
                    f"The layer {name} is a {type(base).__name__}, not a linear layer with float weights: load the "
                    "language model without quantisation."
                )

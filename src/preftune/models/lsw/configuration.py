"""Shape of an LSW Transformer, with the fields of the released `config.json`.

Source: `Avelina/lovelace-medium-alpha1`; Context-PEFT (arXiv 2312.08900), supplement 7, for the 150 M shape.
"""

from typing import Any, ClassVar

from transformers.configuration_utils import PreTrainedConfig

from preftune.errors import PreftuneError

PAPER_150M: dict[str, Any] = {"embedding_projection_bias": True}
"""What the Context-PEFT paper's model has beside the defaults of `LswConfig`: its 153,196,032 parameters (Table 3) ask for
1,536 more than the released layout gives, which biases on the two projections at the table are."""

_UNCOMPUTED: dict[str, Any] = {
    "tie_word_embeddings": True,
    "gated_att": False,
    "rope_dynamic": False,
    "dropout_att_mat": 0.0,
    "dropout_att_out": 0.0,
    "dropout_ffn_int": 0.0,
    "dropout_ffn_out": 0.0,
    "dropout_layers": 0.0,
}
"""Fields of released configurations and the one value that they all have, which is also the only one computed here."""


class LswConfig(PreTrainedConfig):
    """Shape of an LSW Transformer; the defaults are the 150 M shape, with the context of 2048 it was trained for.

    Raises:
        PreftuneError: the heads do not divide the width, or a field asks for something that no released model has.
    """

    model_type = "lsw_transformer"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]
    attribute_map: ClassVar[dict[str, str]] = {
        "hidden_size": "d_model",
        "intermediate_size": "d_ffn",
        "num_attention_heads": "n_heads",
        "num_hidden_layers": "n_layers",
        "max_position_embeddings": "rope_positions",
        "initializer_range": "init_std",
    }

    vocab_size: int = 50272
    d_vocab: int = 768
    d_model: int = 768
    d_ffn: int = 3072
    n_heads: int = 12
    n_layers: int = 12
    n_registers: int = 0
    gated_ffn: bool = True
    qk_norm: bool = False
    enable_bias: bool = True
    embedding_projection_bias: bool = False
    init_std: float = 0.02
    rope_base_freq: float = 500000
    rope_ntk_scale: float = 1.0
    rope_reversed: bool = True
    rope_positions: int = 2048
    use_cache: bool = True
    pad_token_id: int | None = 1
    bos_token_id: int | None = 2
    eos_token_id: int | list[int] | None = 2
    tie_word_embeddings: bool = True

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.d_model % self.n_heads:
            raise PreftuneError(
                f"n_heads {self.n_heads} does not divide d_model {self.d_model}: correct config.json."
            )
        for name, value in _UNCOMPUTED.items():
            if (found := getattr(self, name, value)) != value:
                raise PreftuneError(
                    f"the LSW configuration has {name}: {found}, which no released model has and which is not computed here: "
                    f"set it to {value} in config.json."
                )

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.d_model // self.n_heads

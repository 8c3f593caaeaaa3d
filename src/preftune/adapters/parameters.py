"""Closed-form counts of trainable parameters (Context-PEFT paper, Table 3). No torch: tables import this."""

from dataclasses import dataclass
from typing import Any

Shape = tuple[int, int]
"""(in_features, out_features) of one linear layer."""


@dataclass(frozen=True)
class DecoderShape:
    """Shapes of a decoder's projections, one layer's, and the number of layers.

    `up` holds one fused gate-and-up projection (the paper's model) or the two of a Llama.
    """

    layers: int
    q: Shape
    k: Shape
    v: Shape
    o: Shape
    up: tuple[Shape, ...]
    down: Shape

    def attention(self) -> tuple[Shape, ...]:
        """Projections of the target set A."""
        return (self.q, self.k, self.v, self.o)

    def feedforward(self) -> tuple[Shape, ...]:
        """Projections of the target set F."""
        return (*self.up, self.down)


PAPER_DECODER = DecoderShape(
    layers=12, q=(768, 768), k=(768, 768), v=(768, 768), o=(768, 768), up=((768, 6144),), down=(3072, 768)
)
"""The paper's 150 M language model: width 768, SwiGLU with a fused up projection (supplement, section 7)."""

PAPER_VOCABULARY = 50_272


def llama_decoder(config: dict[str, Any]) -> DecoderShape:
    """Shapes of a Llama-type model from its `config.json`."""
    width, heads = config["hidden_size"], config["num_attention_heads"]
    head = config.get("head_dim") or width // heads
    inner, keys = config["intermediate_size"], head * config.get("num_key_value_heads", heads)
    return DecoderShape(
        layers=config["num_hidden_layers"], q=(width, head * heads), k=(width, keys), v=(width, keys),
        o=(head * heads, width), up=((width, inner), (width, inner)), down=(inner, width),
    )  # fmt: skip


def adapter_parameters(decoder: DecoderShape, kind: str, targets: str, groups: int, rank: int = 1) -> int:
    """Trainable values of an adapter.

    LoRA: rank (in + out) per projection; BitFit: out per projection; IA3: out of k and v (A), in of down (F);
    each times the layers and the groups (1 agnostic, 2 specific).
    """
    chosen = (decoder.attention() if "A" in targets else ()) + (
        decoder.feedforward() if "F" in targets else ()
    )
    if kind == "lora":
        layer = rank * sum(width_in + width_out for width_in, width_out in chosen)
    elif kind == "bitfit":
        layer = sum(width_out for _, width_out in chosen)
    elif kind == "ia3":
        layer = (decoder.k[1] + decoder.v[1]) * ("A" in targets) + decoder.down[0] * ("F" in targets)
    else:
        raise ValueError(f"no formula for adapters of kind {kind}")
    return groups * decoder.layers * layer


def paper_full_parameters() -> int:
    """All weights of the paper's language model, 153,196,032, the embedding table included.

    Table of 50,272 x 768; 12 blocks with biases and two layer norms; input and output projections 768 x 768
    around the table with biases, and a layer norm on each side (the composition is inferred from the printed
    count).
    """
    width = PAPER_DECODER.q[0]
    norm = 2 * width
    projections = PAPER_DECODER.attention() + PAPER_DECODER.feedforward()
    block = sum(width_in * width_out + width_out for width_in, width_out in projections) + 2 * norm
    ends = 2 * (width * width + width) + 2 * norm
    return PAPER_VOCABULARY * width + PAPER_DECODER.layers * block + ends


def parameter_rows(decoder: DecoderShape, full: int) -> list[dict[str, Any]]:
    """Rows {adaptor, agnostic, specific} of Table 3 (targets AF) for a decoder; Full FT has no `specific`."""
    kinds = [
        ("IA3", "ia3", 1),
        ("BitFit", "bitfit", 1),
        *((f"LoRA-{rank}", "lora", rank) for rank in (1, 8, 64)),
    ]
    rows: list[dict[str, Any]] = []
    for name, kind, rank in kinds:
        counts = [adapter_parameters(decoder, kind, "AF", groups, rank) for groups in (1, 2)]
        rows.append({"adaptor": name, "agnostic": counts[0], "specific": counts[1]})
    return [*rows, {"adaptor": "Full FT", "agnostic": full, "specific": None}]


def paper_parameter_table() -> list[dict[str, Any]]:
    """Table 3 of the paper, computed from the shape of its language model."""
    return parameter_rows(PAPER_DECODER, paper_full_parameters())

"""The smallest real language model for tests on real data: llama2.c's stories260K (260,032 parameters) as a folder of transformers.

Layout of the two files: https://github.com/karpathy/llama2.c (model.py, tokenizer.py), MIT licence.
"""

import struct
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SPECIAL = ["<unk>", "<s>", "</s>"]
BYTES = 256  # single bytes follow the special tokens


def convert_stories(source: Path, folder: Path, context: int) -> None:
    """Write `stories260K.bin` and `tok512.bin` of `source` as a Llama folder that takes rows of `context` tokens (it was trained on
    512).
    """
    model = read_model(source / "stories260K.bin")
    model.config.max_position_embeddings = context
    model.save_pretrained(folder)
    read_tokenizer(source / "tok512.bin").save_pretrained(folder)


def read_model(path: Path) -> LlamaForCausalLM:
    """The model of llama2.c's first file format: seven int32, then fp32 tensors, those of all layers stacked."""
    raw = path.read_bytes()
    width, inner, layers, heads, key_heads, vocabulary, context = struct.unpack("7i", raw[:28])
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=width, intermediate_size=inner, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=key_heads, max_position_embeddings=context,
        rms_norm_eps=1e-5, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    head, keys = width // heads, width // heads * key_heads
    values, place = np.frombuffer(raw, dtype="<f4", offset=28), 0

    def take(*shape: int) -> torch.Tensor:
        nonlocal place
        start, place = place, place + int(np.prod(shape))
        return torch.from_numpy(values[start:place].reshape(shape).copy())

    state = {"model.embed_tokens.weight": take(vocabulary, width)}
    shapes = {
        "input_layernorm": (width,), "self_attn.q_proj": (width, width), "self_attn.k_proj": (keys, width),
        "self_attn.v_proj": (keys, width), "self_attn.o_proj": (width, width), "post_attention_layernorm": (width,),
        "mlp.gate_proj": (inner, width), "mlp.down_proj": (width, inner), "mlp.up_proj": (inner, width),
    }  # fmt: skip
    for name, shape in shapes.items():
        for layer, tensor in enumerate(take(layers, *shape)):
            # llama2.c rotates neighbouring pairs of a head, transformers its two halves.
            if name.endswith(("q_proj", "k_proj")):
                tensor = tensor.view(-1, head // 2, 2, width).transpose(1, 2).reshape(shape)
            state[f"model.layers.{layer}.{name}.weight"] = tensor
    state["model.norm.weight"] = take(width)
    model = LlamaForCausalLM(config).eval()
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert (missing, unexpected) == (["lm_head.weight"], [])
    model.tie_weights()
    return model


def read_tokenizer(path: Path) -> PreTrainedTokenizerFast:
    """A SentencePiece BPE of (score, length, bytes) records, without merges: those are all splits of a piece into two others."""
    raw, place, pieces = path.read_bytes(), 4, []
    while place < len(raw):
        _, length = struct.unpack("<fi", raw[place : place + 8])
        pieces.append(raw[place + 8 : place + 8 + length].decode().replace(" ", "▁"))
        place += 8 + length
    pieces[: len(SPECIAL)] = SPECIAL
    pieces[len(SPECIAL) : len(SPECIAL) + BYTES] = [f"<0x{byte:02X}>" for byte in range(BYTES)]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    merges = [
        (piece[:cut], piece[cut:])
        for piece in pieces[len(SPECIAL) + BYTES :]
        for cut in range(1, len(piece))
        if piece[:cut] in vocabulary and piece[cut:] in vocabulary
    ]
    tokenizer = Tokenizer(
        models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="</s>"
    )

"""The Context-PEFT paper's language model before its pre-training: random weights around a table that is taken over.

Source: Hadji-Kyriacou and Arandjelovic (2023), arXiv 2312.08900, supplement 7.
"""

from pathlib import Path
from typing import cast

import torch
from transformers import PreTrainedTokenizerBase

from preftune.models.language import load_language_model
from preftune.models.lsw import PAPER_150M, LswConfig, LswForCausalLM
from preftune.settings.pretraining import ShapeSettings


def shape_config(shape: ShapeSettings, words: int, width: int) -> LswConfig:
    """The configuration of a model around a table [words, width]."""
    return LswConfig(**PAPER_150M, **shape.model_dump(), vocab_size=words, d_vocab=width)


def start_language_model(
    table: Path, shape: ShapeSettings, seed: int, device: torch.device
) -> tuple[LswForCausalLM, PreTrainedTokenizerBase]:
    """A model of random fp32 weights, drawn by `seed`, with the embedding table and the tokenizer of the folder `table`.

    The table, tied to the output, has no gradient.
    """
    donor, tokenizer = load_language_model(table, torch.device("cpu"), torch.float32)
    rows = cast(torch.Tensor, donor.get_input_embeddings().weight).detach()
    config = shape_config(shape, *rows.shape)
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(config, name, getattr(tokenizer, name))
    torch.manual_seed(seed)
    model = LswForCausalLM(config)
    own = model.model.input_embedding["embedding"].requires_grad_(False)
    with torch.no_grad():
        own.weight.copy_(rows)
    model.to(device)  # type: ignore[arg-type]
    return model.train(), tokenizer

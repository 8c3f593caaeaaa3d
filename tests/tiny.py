"""Tiny random models and tokenizers for tests: real classes, seconds instead of minutes."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

_TEXT = [
    "The red cup is on the table in the kitchen and the blue ball is under the chair.",
    "Answer yes or no. Question: Is the dog small? Choices: A. one B. two C. three D. four E. five",
    "a large green circle to the left of a small yellow square on a white background",
    "0 1 2 3 4 5 positive negative True False Neither system user assistant",
] * 4


def tiny_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """A byte-level BPE of about 500 words with SmolLM2's special tokens (pad == eos == <|im_end|>), saved in `folder`."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(_TEXT, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def tiny_language_model(folder: Path, seed: int = 0) -> LlamaForCausalLM:
    """A random Llama (2 layers, width 32, 4 heads / 2 key-value heads, vocabulary 512) with `tiny_tokenizer` in `folder`."""
    tiny_tokenizer(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        random_weights=True,
    )
    model = LlamaForCausalLM(config).eval()
    model.save_pretrained(folder)
    return model

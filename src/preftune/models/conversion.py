"""Turning fetched weights into ordinary folders: GGUF to a transformers checkpoint, EfficientNet-lite to safetensors."""

import shutil
from pathlib import Path

import torch

from preftune.data.chat import MARKER, START
from preftune.errors import PreftuneError
from preftune.models.language import load_language_model
from preftune.settings.sources import ModelSource


def convert_model(source: ModelSource, fetched: Path, output: Path, tokenizer: Path | None = None) -> None:
    """Write the model folder `output` from what was fetched, by the source's format; `tokenizer` is the folder of a tokenizer
    that lies elsewhere.
    """
    if source.format == "gguf":
        convert_gguf(fetched, output)
    elif source.format == "efficientnet-lite":
        from preftune.models.encoders.convert import convert_efficientnet

        convert_efficientnet(fetched, source.name, output)
    elif source.format == "lsw":
        from preftune.models.lsw.checkpoints import convert_released

        convert_released(fetched, output, tokenizer)
    else:
        shutil.copytree(fetched, output, ignore=shutil.ignore_patterns(".cache", "run.json"))
    if source.chat_tokens:
        add_chat_tokens(output)


def convert_gguf(path: Path, output: Path) -> None:
    """A GGUF file as a transformers folder in float32: the quantised values exactly, without the quantised format.

    transformers refuses to save a model that it loaded from GGUF, so its weights are copied into a fresh model of the
    same configuration; `<|im_start|>` and `<|im_end|>` must be single tokens of its tokenizer.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    loaded = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    for marker in ("<|im_start|>", "<|im_end|>"):
        if len(tokenizer.encode(marker, add_special_tokens=False)) != 1:
            raise PreftuneError(
                f"The tokenizer of {path.name} lacks the special token {marker}: choose a ChatML model."
            )
    fields = {key: value for key, value in loaded.config.to_dict().items()
              if key not in ("quantization_config", "_name_or_path", "dtype", "torch_dtype")}  # fmt: skip
    model = type(loaded)(type(loaded.config)(**fields))
    model.load_state_dict(loaded.state_dict())
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)


def add_chat_tokens(folder: Path) -> None:
    """Give a model folder's tokenizer the two ChatML tokens, for the stage that teaches them.

    A model with spare rows in its embedding (OPT's has) keeps its weights. One without gets two rows, each the mean of the
    rows that are there: logits of new tokens start where the average token's are.
    """
    from transformers import AutoConfig, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    tokenizer.add_tokens([START, MARKER], special_tokens=True)
    tokenizer.save_pretrained(folder)
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    if len(tokenizer) > config.vocab_size:
        model, _ = load_language_model(folder, torch.device("cpu"), torch.float32)
        known = config.vocab_size
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        with torch.no_grad():
            for layer in {model.get_input_embeddings(), model.get_output_embeddings()}:
                layer.weight[known:] = layer.weight[:known].mean(dim=0)
        model.save_pretrained(folder)

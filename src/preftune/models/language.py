"""Loading causal language models from plain folders, offline."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

import preftune.models.lsw  # noqa: F401 (makes the papers' own architecture known to the Auto classes)
from preftune.errors import PreftuneError


def load_language_model(
    folder: Path, device: torch.device, dtype: torch.dtype
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal LM and its tokenizer from a `transformers` folder, in eval mode; nothing is asked of a hub."""
    if not (Path(folder) / "config.json").is_file():
        raise PreftuneError(
            f"{folder} holds no config.json: it must be a transformers model folder (see fetch_model)."
        )
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise PreftuneError(
            f"{folder} cannot be loaded as a causal language model ({error}): fetch it again."
        ) from error
    model.to(device)  # type: ignore[arg-type]
    return model.eval(), tokenizer
